"""Backends for synchronous callers, as plug-ins are: an event loop in a thread, unless the backend can do without."""

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from pipelines.backends.port import Backend, Immediate
from pipelines.backends.tensors import Answer, Arrays, ModelRef, Signature

T = TypeVar("T")


class Blocking:
    """A backend, asked from ordinary code. The thread starts with the first question that needs it."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.place = backend, backend.place
        self._here = backend if isinstance(backend, Immediate) else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()

    def check(self) -> None:
        """See ``Backend.check``."""
        self.backend.check()

    def load(self, ref: ModelRef) -> Signature:
        """See ``Backend.load``."""
        if self._here is not None:
            return self._here.load_now(ref)
        return self._wait(self.backend.load(ref))

    def infer(self, ref: ModelRef, inputs: Arrays) -> Answer:
        """See ``Backend.infer``."""
        if self._here is not None:
            return self._here.infer_now(ref, inputs)
        return self._wait(self.backend.infer(ref, inputs))

    def several(self, ref: ModelRef, inputs: Iterable[Arrays], at_once: int) -> Iterator[Answer]:
        """As ``infer`` for each of the inputs, in their order.

        So many are under way at once, and no input is taken before there is room for it. When one fails, or nobody
        asks for more, those under way are called off.
        """
        if at_once == 1:
            yield from (self.infer(ref, one) for one in inputs)
            return
        under_way: deque[Future[Answer]] = deque()
        try:
            for one in inputs:
                if len(under_way) == at_once:
                    yield under_way.popleft().result()
                under_way.append(self._begin(self.backend.infer(ref, one)))
            while under_way:
                yield under_way.popleft().result()
        finally:
            for left in under_way:
                left.cancel()

    def healthy(self) -> bool:
        """See ``Backend.healthy``."""
        return self._wait(self.backend.healthy())

    def close(self) -> None:
        """Call off what is under way, close the backend and end the thread."""
        self._wait(self._ended())
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = None

    async def _ended(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.backend.close()

    def _wait(self, question: Coroutine[Any, Any, T]) -> T:
        return self._begin(question).result()

    def _begin(self, question: Coroutine[Any, Any, T]) -> "Future[T]":
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="backend", daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(question, self._loop)
