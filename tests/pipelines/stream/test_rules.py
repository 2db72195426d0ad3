"""Windows, order, drops and batches, whatever happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.stream import Drop, Status
from pipelines.stream.port import KNOWN, named
from pipelines.stream.rules import ANSWERS, Batcher, Frame, Lane, padded

WINDOW = 4
STEPS = st.lists(st.sampled_from(["take", "refuse", "batch", "answer first", "answer last", "send"]), max_size=80)


class Story:
    """A lane, and what a right one would have done with the same steps."""

    def __init__(self, drop: Drop) -> None:
        self.lane = Lane(WINDOW, drop)
        self.sent: list[int] = []
        self.answered: list[Frame] = []
        self.number = 0

    def waiting(self) -> list[Frame]:
        return [frame for frame in self.lane.frames if frame.status is None]

    def do(self, step: str) -> None:
        match step:
            case "take" | "refuse" if not self.lane.full:
                frame = Frame(self.number, b"pixels", received=1)
                self.sent.append(self.number)
                self.number += 1
                self.lane.take(frame) if step == "take" else self.lane.refuse(frame)
            case "batch" if self.waiting():
                self.waiting()[0].batched = 1
            case "answer first" | "answer last" if self.waiting():
                self.lane.answer(self.waiting()[0 if step == "answer first" else -1], Status.CLASSIFIED)
            case "send":
                self.answered += self.lane.ready()

    def finish(self) -> None:
        for frame in self.waiting():
            self.lane.answer(frame, Status.CLASSIFIED)
        self.answered += self.lane.ready()


@given(STEPS, st.sampled_from(Drop))
def test_every_frame_is_answered_once_and_in_order(steps: list[str], drop: Drop) -> None:
    story = Story(drop)
    for step in steps:
        story.do(step)
    story.finish()

    assert [frame.number for frame in story.answered] == story.sent
    assert sum(story.lane.counts.values()) == story.lane.received == len(story.sent)
    assert story.lane.open == 0
    assert not story.lane.frames


@given(STEPS, st.sampled_from(Drop))
def test_what_waits_is_bounded_and_pixels_are_let_go(steps: list[str], drop: Drop) -> None:
    story = Story(drop)
    for step in steps:
        story.do(step)
        holding = [frame for frame in story.lane.frames if frame.pixels]
        assert len(holding) == story.lane.open <= WINDOW
        assert len(story.lane.waiting) <= WINDOW
        assert len(story.lane.frames) <= (WINDOW if drop is Drop.NEVER else ANSWERS * WINDOW)


@given(STEPS)
def test_nothing_is_dropped_unless_it_was_asked_for(steps: list[str]) -> None:
    story = Story(Drop.NEVER)
    for step in steps:
        story.do(step)
    assert not story.lane.counts[Status.DROPPED]


@pytest.mark.parametrize("drop", Drop)
def test_a_lane_that_is_not_answered_is_full_at_last(drop: Drop) -> None:
    lane = Lane(WINDOW, drop)
    lane.take(Frame(0, b"pixels", 1, batched=1))
    while not lane.full:
        lane.take(Frame(lane.received, b"pixels", 1))
    assert len(lane.frames) == WINDOW * (1 if drop is Drop.NEVER else ANSWERS)
    assert sum(bool(frame.pixels) for frame in lane.frames) == WINDOW
    assert lane.ready() == []


def overfilled(drop: Drop, *, batched: int = 0) -> Lane:
    lane = Lane(WINDOW, drop)
    for number in range(WINDOW):
        lane.take(Frame(number, b"pixels", 1, batched=number < batched))
    lane.take(Frame(WINDOW, b"pixels", 1))
    return lane


def dropped(lane: Lane) -> list[int]:
    return [frame.number for frame in lane.frames if frame.status is Status.DROPPED]


def test_the_newest_is_dropped_or_the_oldest_as_was_asked_for() -> None:
    assert dropped(overfilled(Drop.NEWEST)) == [4]
    assert dropped(overfilled(Drop.OLDEST)) == [0]


def test_a_frame_that_is_in_a_batch_is_not_dropped() -> None:
    assert dropped(overfilled(Drop.OLDEST, batched=2)) == [2]
    assert dropped(overfilled(Drop.OLDEST, batched=4)) == [4]


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 8), st.integers(0, 10))
def test_batches_keep_the_order_and_none_waits_beyond_its_deadline(pauses: list[int], most: int, deadline: int) -> None:
    batcher: Batcher[int] = Batcher(most, deadline)
    now, came, found = 0, {}, []

    def due(until: int) -> None:
        nonlocal now
        while (wait := batcher.wait(now)) is not None and now + wait <= until:
            now += wait
            batch = batcher.batch()
            assert 0 < len(batch) <= most
            assert len(batch) == most or now - came[batch[0]] == deadline
            assert all(now - came[thing] <= deadline for thing in batch)
            found.extend(batch)

    for thing, pause in enumerate(pauses):
        due(now + pause)
        now += pause
        came[thing] = now
        full = batcher.add(thing, now)
        assert full == (len(batcher) >= most)
        due(now)
    due(now + deadline)

    assert found == list(range(len(pauses)))
    assert batcher.wait(now) is None


def test_what_is_dropped_leaves_the_batcher() -> None:
    batcher: Batcher[int] = Batcher(4, 10)
    for thing in (1, 2, 3):
        batcher.add(thing, thing)
    batcher.discard(lambda thing: thing == 1)
    batcher.discard(lambda thing: thing == 7)
    assert batcher.wait(2) == 10
    assert batcher.batch() == [2, 3]


def test_a_batch_is_padded_to_the_next_size() -> None:
    sizes = (1, 2, 4, 8)
    assert [padded(number, sizes) for number in (1, 2, 3, 5, 8, 9)] == [1, 2, 4, 8, 8, 8]


@pytest.mark.parametrize("model", [*KNOWN, "tests.pipelines.stream.shades:Shades"])
def test_a_model_is_found_by_its_name_or_its_place(model: str) -> None:
    assert named(model).classes


@pytest.mark.parametrize("model", ["", "spots", "no.such.module:Model", "pipelines.stream.port:Nothing", "json:loads"])
def test_a_model_that_is_none_is_told_with_those_that_are(model: str) -> None:
    with pytest.raises(ValueError, match="it must be one of bloodcells"):
        named(model)
