"""Backends for synchronous callers, as plug-ins are: an event loop in a thread, unless the backend can do without."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from pipelines.backends.port import Backend, Immediate
from pipelines.backends.tensors import Answer, Arrays, ModelRef, Signature, check_outputs, fits

T = TypeVar("T")


class Blocking:
    """A backend, asked from ordinary code. The thread starts with the first question that needs it."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.place = backend, backend.place
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()

    def check(self) -> None:
        """See ``Backend.check``."""
        self.backend.check()

    def load(self, ref: ModelRef) -> Signature:
        """See ``Backend.load``."""
        if isinstance(self.backend, Immediate):
            return self.backend.load_now(ref)
        return self._wait(self.backend.load(ref))

    def infer(self, ref: ModelRef, inputs: Arrays) -> Answer:
        """See ``Backend.infer``."""
        if isinstance(self.backend, Immediate):
            return self.backend.infer_now(ref, inputs)
        return self._wait(self.backend.infer(ref, inputs))

    def healthy(self) -> bool:
        """See ``Backend.healthy``."""
        return self._wait(self.backend.healthy())

    def close(self) -> None:
        """Close the backend and end the thread."""
        self._wait(self.backend.close())
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = None

    def _wait(self, question: Coroutine[Any, Any, T]) -> T:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="backend", daemon=True)
                self._thread.start()
        return asyncio.run_coroutine_threadsafe(question, self._loop).result()


class Predictor:
    """One model at one place as a pipeline means it: what it takes is compared once, what it gives each time."""

    def __init__(self, backend: Blocking, ref: ModelRef, wanted: Signature) -> None:
        self._backend, self.ref, self._wanted = backend, ref, wanted
        self._known: set[str] = set()
        """Versions that were compared; empty: not loaded yet."""

    def ready(self) -> None:
        """Load the model if that has not been done, so that what is wrong with it is known before any work.

        Raises ``Unavailable`` also while the place is known to be down.
        """
        self._backend.check()
        if not self._known:
            signature = self._backend.load(self.ref)
            fits(self.ref, signature, self._wanted, self._backend.place)
            self._known = {"", *signature.versions[-1:]}

    def __call__(self, inputs: Arrays) -> Answer:
        """The outputs for one batch; finite, and named and shaped as meant."""
        if not self._known:
            self.ready()
        answer = self._backend.infer(self.ref, inputs)
        if answer.version not in self._known:  # the server has another by now
            fits(self.ref, self._backend.load(self.ref), self._wanted, self._backend.place)
            self._known.add(answer.version)
        check_outputs(self.ref, self._wanted, answer, self._backend.place)
        return answer
