"""Asks a model about a batch of frames, wherever it runs."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.backends.address import Address
from pipelines.backends.errors import Mismatch
from pipelines.backends.factory import backend
from pipelines.backends.port import Backend, Immediate
from pipelines.backends.tensors import Answer, ModelRef, Signature, fits
from pipelines.stream.port import Findings, OnMap, StreamModel
from pipelines.stream.rules import padded

if TYPE_CHECKING:
    from pipelines.stream.judge import Judged

Groups = Callable[[], Sequence[NDArray[Any]]]
"""Makes the frames of a batch; each group (N, side, side, C) is of one kind of pixels. It is called in a thread."""
Then = Callable[[Findings, str], "Judged | None"]
"""Judges what a version of the model has said; it is called in a thread."""
SIZES = (1, 2, 4, 8, 12, 16, 24, 32)
"""Of batches, where models are compiled for each: as many as the backend keeps."""


class Inference:
    """A model at its place. A place in this process works in a thread of its own; one elsewhere is asked several times
    at once."""

    def __init__(self, model: StreamModel, address: Address) -> None:
        """Nothing is asked yet. Raises ``BadAddress``."""
        self.model = model
        self.backend: Backend = backend(address, model.source, model.precision)
        self.ref = ModelRef(address.text("model", model.name), address.text("version", ""))
        self._immediate = self.backend if isinstance(self.backend, Immediate) else None
        self.here = self._immediate is not None
        self.at_once = 1 if self.here else 4
        self.version = ""
        self.sizes = SIZES
        self._thread = ThreadPoolExecutor(1, "stream")

    async def ready(self) -> None:
        """Load the model, compare it with what is meant, and let it see a batch of each size: the first takes long.

        Raises ``BackendError``, among them ``Unavailable``.
        """
        signature = await self.backend.load(self.ref)
        fits(self.ref, signature, self.model.wanted, self.backend.place)
        self.version = signature.versions[-1] if signature.versions else ""
        if isinstance(self.model, OnMap):
            await asyncio.get_running_loop().run_in_executor(self._thread, self.model.warm)
        side = self.model.side
        for size in self.sizes if self.here else (1,):
            await self.ask(partial(_black, size, side))

    async def ask(self, groups: Groups, then: Then | None = None) -> Findings:
        """What the model says of the frames, group by group, judged by ``then``. Raises ``BackendError``."""
        loop = asyncio.get_running_loop()
        if self.here:
            return await loop.run_in_executor(self._thread, self._now, groups, then)
        tensor = await loop.run_in_executor(self._thread, self._tensor, groups)
        answer = await self.backend.infer(self.ref, {self._input: tensor})
        self.version = answer.version or self.version
        findings = self._read(answer, len(tensor))
        return findings if then is None else await loop.run_in_executor(self._thread, self._judged, findings, then)

    async def close(self) -> None:
        """Let go of the place."""
        await self.backend.close()
        self._thread.shutdown()

    @property
    def _input(self) -> str:
        return self.model.wanted.inputs[0].name

    def _now(self, groups: Groups, then: Then | None) -> Findings:
        assert self._immediate is not None
        tensor = self._tensor(groups)
        number = len(tensor)
        missing = padded(number, self.sizes) - number
        if missing > 0:
            tensor = np.concatenate([tensor, np.zeros((missing, *tensor.shape[1:]), tensor.dtype)])
        findings = self._read(self._immediate.infer_now(self.ref, {self._input: tensor}), number)
        return findings if then is None else self._judged(findings, then)

    def _judged(self, findings: Findings, then: Then) -> Findings:
        return replace(findings, judged=then(findings, self.version))

    def _tensor(self, groups: Groups) -> NDArray[np.float32]:
        parts = [self.model.prepare(group) for group in groups()]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _read(self, answer: Answer, number: int) -> Findings:
        wanted: Signature = self.model.wanted
        for tensor in wanted.outputs:
            array = answer.outputs.get(tensor.name)
            if array is None or array.ndim < 1 or len(array) < number:
                raise Mismatch(
                    f"{self.ref} version {self.version or '?'} at {self.backend.place} gave no {tensor.name!r} for"
                    f" {number} frames; serve the model that was exported for this stream"
                )
        return self.model.read({name: array[:number] for name, array in answer.outputs.items()})


def _black(size: int, side: int) -> Sequence[NDArray[Any]]:
    return [np.zeros((size, side, side, 1), np.uint8)]
