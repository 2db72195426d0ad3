"""Pictures to and from a server on the same host by memory that both have, as Triton takes them."""

import asyncio
import logging
import os
import uuid
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from pipelines.backends.kserve import NotFound, Rejected, Wire, plain
from pipelines.backends.kserve_memory import PREFIX, Memory, NoMemory
from pipelines.backends.patience import NoAnswer
from pipelines.backends.tensors import Answer, Arrays, ModelRef

log = logging.getLogger(__name__)
KEPT = 8
"""Regions that wait for the next request; others are removed."""
SHAPES_KNOWN = 64
UNSHARE_SECONDS = 1.0
LEAST = 64
_TRIES = 5

Layout = dict[str, int]
"""Bytes of each output, by name."""


@dataclass
class _Region:
    name: str
    size: int
    handle: Any


@dataclass
class SharedMemory:
    """Requests by shared memory once it is known how large the outputs of such inputs are; before that by wire."""

    wire: Wire
    memory: Memory
    _layouts: "OrderedDict[tuple[Any, ...], Layout]" = field(default_factory=OrderedDict)
    _free: list[_Region] = field(default_factory=list)
    _works: bool = True

    async def infer(self, ref: ModelRef, inputs: Arrays) -> Answer:
        """As ``plain``; whatever is wrong with the sharing itself, the picture goes over the wire."""
        key = (ref, tuple((name, str(array.dtype), array.shape) for name, array in inputs.items()))
        layout = self._layouts.get(key)
        if not self._works or layout is None or any(array.dtype == object for array in inputs.values()):
            answer = await plain(self.wire, ref, inputs)
            self._learn(key, answer)
            return answer
        try:
            return await self._shared(ref, inputs, layout)
        except NoMemory as error:
            self._gives_up(error)
        except Rejected as error:
            # A restarted server knows no region any more; another version may give larger outputs.
            log.info("shared memory with the model server: %s", error)
            self._layouts.pop(key, None)
            await self.close()
        return await plain(self.wire, ref, inputs)

    async def close(self) -> None:
        """Remove all regions."""
        while self._free:
            await self._remove(self._free.pop())

    async def tidy(self) -> None:
        """Remove regions whose process was killed, here and at the server: each is some megabytes of memory."""
        for name in self.memory.left_behind():
            log.info("shared memory %s was left behind by a process that has ended", name)
            with suppress(Rejected, NotFound, NoAnswer, TimeoutError):
                await self.memory.unshare(self.wire, name)

    def _learn(self, key: tuple[Any, ...], answer: Answer) -> None:
        if all(array.dtype != object for array in answer.outputs.values()):
            self._layouts[key] = {name: array.nbytes for name, array in answer.outputs.items()}
        while len(self._layouts) > SHAPES_KNOWN:
            self._layouts.popitem(last=False)

    async def _shared(self, ref: ModelRef, inputs: Arrays, layout: Layout) -> Answer:
        taken: dict[str, _Region] = {}
        try:
            given = [await self._given(name, array, taken) for name, array in inputs.items()]
            wanted = [await self._wanted(name, size, taken) for name, size in layout.items()]
            version, said, _ = await self.wire.infer(ref, given, wanted)
            outputs = {name: self._read(taken[f"output {name}"], one) for name, one in said.items()}
        except BaseException:
            # The server may still read or write them: nobody else may have them.
            for region in taken.values():
                await asyncio.shield(self._remove(region))
            raise
        self._free += taken.values()
        while len(self._free) > KEPT:
            await self._remove(self._free.pop(0))
        return Answer(outputs, version)

    async def _given(self, name: str, array: Any, taken: dict[str, _Region]) -> Any:
        region = taken[f"input {name}"] = await self._take(array.nbytes)
        self.memory.write(region.handle, np.ascontiguousarray(array))
        one = self.wire.input(name, array.shape, np_to_triton_dtype(array.dtype))
        one.set_shared_memory(region.name, array.nbytes)
        return one

    async def _wanted(self, name: str, size: int, taken: dict[str, _Region]) -> Any:
        region = taken[f"output {name}"] = await self._take(size)
        one = self.wire.output(name)
        one.set_shared_memory(region.name, size)
        return one

    def _read(self, region: _Region, said: Any) -> Any:
        shape = [int(side) for side in said["shape"]]
        return self.memory.read(region.handle, triton_to_np_dtype(said["datatype"]), shape)

    async def _take(self, size: int) -> _Region:
        """A region that is large enough, and that the server knows. Raises ``NoMemory`` where it cannot have any."""
        fitting = [region for region in self._free if region.size >= size]
        if fitting:
            region = min(fitting, key=lambda one: one.size)
            self._free.remove(region)
            return region
        name = f"{PREFIX}{os.getpid()}-{uuid.uuid4().hex[:12]}"
        capacity = 1 << (max(size, LEAST) - 1).bit_length()
        region = _Region(name, capacity, self.memory.create(name, capacity))
        try:
            await self.memory.share(self.wire, name, region.handle, capacity)
        except BaseException as error:
            self.memory.destroy(region.handle)
            if isinstance(error, Rejected | NotFound):  # it runs in a container of its own, say
                raise NoMemory(str(error)) from error
            raise
        return region

    def _gives_up(self, error: Exception) -> None:
        log.warning("no shared memory with the model server, pictures go over the wire: %s", error)
        self._works = False

    async def _remove(self, region: _Region) -> None:
        for tries in range(_TRIES):
            try:
                async with asyncio.timeout(UNSHARE_SECONDS):  # it may stand still, which is why we are here
                    await self.memory.unshare(self.wire, region.name)
                break
            except Rejected:  # it may be busy with the region for a moment after it has answered
                await asyncio.sleep(0.01 * 2**tries)
            except (NoAnswer, NotFound, TimeoutError):
                break
        self.memory.destroy(region.handle)
