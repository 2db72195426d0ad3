"""One model at one place as a pipeline means it: what it takes is compared once, what it gives each time."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from pipelines.backends.blocking import Blocking
from pipelines.backends.errors import Exchanged, Refused, Unavailable
from pipelines.backends.tensors import Answer, Arrays, ModelRef, Signature, check_outputs, fits

log = logging.getLogger(__name__)
PROVEN_SECONDS = 300.0
"""After which a server's model is proven again: its files may have been exchanged under the same version."""


class Proof(Protocol):
    """Tells by its behaviour which model a server has."""

    def inputs(self, signature: Signature) -> Arrays:
        """What a model that takes this is asked for that."""
        ...

    def judge(self, ref: ModelRef, place: str, inputs: Arrays, answer: Answer) -> None:
        """Raises ``Mismatch`` where it is not the model that it says it is."""
        ...


class Predictor:
    """A model to be asked again and again, from one thread."""

    def __init__(
        self,
        backend: Blocking,
        ref: ModelRef,
        wanted: Signature,
        *,
        proof: Proof | None = None,
        at_once: int = 1,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``proof``: asked of each version that answers for the first time; ``at_once``: requests of ``several`` that
        are under way, at most; ``now`` in seconds."""
        self._backend, self.ref, self._wanted = backend, ref, wanted
        self._proof, self._at_once, self._now = proof, at_once, now
        self._known: set[str] = set()
        """Versions that were compared; empty: not loaded yet."""
        self._known_since = 0.0
        self.version: str | None = None
        """Which has answered since ``ready``; None: nobody yet."""

    def ready(self) -> None:
        """Load the model if that has not been done, so that what is wrong with it is known before any work.

        Raises ``Unavailable`` also while the place is known to be down. What follows is one piece of work, to be done
        by one version.
        """
        self._backend.check()
        self.version = None
        if self._proof is not None and self._now() - self._known_since > PROVEN_SECONDS:
            self._known.clear()
        if not self._known:
            self._meet()

    def __call__(self, inputs: Arrays) -> Answer:
        """The outputs for one batch; finite, and named and shaped as meant."""
        (answer,) = self.several([inputs])
        return answer

    def several(self, inputs: Iterable[Arrays]) -> Iterator[Answer]:
        """As for one batch, for each of them, in their order; several are under way at once."""
        if not self._known:
            self.ready()
        try:
            for answer in self._backend.several(self.ref, inputs, self._at_once):
                yield self._taken(answer)
        except Unavailable:
            self._known.clear()  # who comes back may be another
            raise

    def _taken(self, answer: Answer) -> Answer:
        if answer.version not in self._known:  # the server has another by now
            self._meet()
            if self._proof is None:
                self._known.add(answer.version)
        if answer.version not in self._known or self.version not in (None, answer.version):
            raise Exchanged(f"{self.ref} at {self._backend.place} was exchanged meanwhile; the work begins anew")
        self.version = answer.version
        check_outputs(self.ref, self._wanted, answer, self._backend.place)
        return answer

    def _meet(self) -> None:
        """Compare what the place has now with what is meant."""
        signature = self._backend.load(self.ref)
        fits(self.ref, signature, self._wanted, self._backend.place)
        if self._proof is None:
            self._known |= {"", *signature.versions[-1:]}
            return
        inputs = self._proof.inputs(signature)
        self._known_since = self._now()
        try:
            answer = self._backend.infer(self.ref, inputs)
        except Refused as error:  # it may be made for other sizes; what it cannot do, the work itself will show
            log.warning("which model it is cannot be proven: %s", error)
            self._known |= {"", *signature.versions[-1:]}
            return
        check_outputs(self.ref, self._wanted, answer, self._backend.place)
        self._proof.judge(self.ref, self._backend.place, inputs, answer)
        self._known.add(answer.version)
