"""Decisions of the stream, without I/O or clocks: windows, order, what is dropped, when a batch is due."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from contracts.stream import NO_CLASS, Drop, GateList, Status

ANSWERS = 32
"""Where frames may be dropped, so many windows of frames may wait for their answers, which leave in order only: behind
one that the model does not answer, and for an instrument that does not read. They hold no pixels any more."""


@dataclass(slots=True, eq=False)
class Frame:
    """One frame on its way. Its pixels are let go as soon as it is answered."""

    number: int
    pixels: memoryview | bytes
    received: int
    batched: int = 0
    inferred: int = 0
    status: Status | None = None
    """None: not answered yet."""
    label: int = NO_CLASS
    probability: float = 0.0
    vector: bytes = b""
    decision: int = 0
    judged: bytes = b""
    """``contracts.stream_decisions.DECIDED``; empty: gates were not asked."""
    gates: GateList | None = None
    """By which it was judged."""

    def answer(self, status: Status) -> None:
        """What became of it."""
        self.status, self.pixels = status, b""


class Lane:
    """The frames of one connection in the order in which they came, from their arrival to their answer.

    At most ``window`` of them hold pixels. Without dropping, no more are taken in than that; with it, frames that were
    answered as dropped may wait for the instrument to read them, ``ANSWERS`` windows in all.
    """

    def __init__(self, window: int, drop: Drop = Drop.NEVER) -> None:
        self.window, self.drop = window, drop
        self.frames: deque[Frame] = deque()
        self.waiting: deque[Frame] = deque()
        """Where the oldest may be dropped: those that are in no batch yet, and some that were answered after."""
        self.open = 0
        """Frames without an answer."""
        self.counts = Counter[Status]()
        self.received = 0

    @property
    def full(self) -> bool:
        """Whether nothing more may be read now."""
        return len(self.frames) >= (self.window if self.drop is Drop.NEVER else ANSWERS * self.window)

    def take(self, frame: Frame) -> Frame | None:
        """The next frame; the one that is dropped for want of room, if any (it may be the same)."""
        self.received += 1
        self.frames.append(frame)
        self.open += 1
        dropped = None
        if self.drop is not Drop.NEVER and self.open > self.window:
            dropped = self._oldest() or frame
            self.answer(dropped, Status.DROPPED)
        if self.drop is Drop.OLDEST and dropped is not frame:
            self._forget_taken()
            self.waiting.append(frame)
        return dropped

    def refuse(self, frame: Frame) -> None:
        """Something that is no frame, in its place among the others."""
        self.received += 1
        self.frames.append(frame)
        self.open += 1
        self.answer(frame, Status.REFUSED)

    def answer(self, frame: Frame, status: Status) -> None:
        """A frame is dealt with."""
        frame.answer(status)
        self.open -= 1
        self.counts[status] += 1

    def ready(self) -> list[Frame]:
        """Answered frames before which none is unanswered; they leave the lane."""
        found = []
        while self.frames and self.frames[0].status is not None:
            found.append(self.frames.popleft())
        return found

    def _oldest(self) -> Frame | None:
        self._forget_taken()
        return self.waiting.popleft() if self.waiting else None

    def _forget_taken(self) -> None:
        while self.waiting and (self.waiting[0].batched or self.waiting[0].status is not None):
            self.waiting.popleft()


T = TypeVar("T")


@dataclass
class Batcher(Generic[T]):
    """Collects things until there are ``most`` of them, or the first has waited for ``deadline`` ns."""

    most: int
    deadline: int
    _waiting: deque[tuple[int, T]] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, thing: T, now: int) -> bool:
        """Whether a batch is full by it."""
        self._waiting.append((now, thing))
        return len(self._waiting) >= self.most

    def wait(self, now: int) -> int | None:
        """ns until a batch is due; 0: now; None: nothing waits."""
        if not self._waiting:
            return None
        if len(self._waiting) >= self.most:
            return 0
        return max(0, self._waiting[0][0] + self.deadline - now)

    def discard(self, unwanted: Callable[[T], bool]) -> None:
        """The first thing of this kind leaves, if there is one."""
        for place, (_, thing) in enumerate(self._waiting):
            if unwanted(thing):
                del self._waiting[place]
                return

    def batch(self) -> list[T]:
        """Those that have waited for longest, ``most`` at most."""
        return [self._waiting.popleft()[1] for _ in range(min(self.most, len(self._waiting)))]


def padded(number: int, sizes: Sequence[int]) -> int:
    """The smallest of some sizes of batches that holds so many; the largest if none does."""
    return next((size for size in sizes if size >= number), sizes[-1])
