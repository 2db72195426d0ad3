"""Pictures to and from a server on the same host by shared memory, as Triton takes them."""

import asyncio
import logging
import mmap
import os
import sys
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from pipelines.backends.kserve import NotFound, Rejected, Wire, plain
from pipelines.backends.patience import NoAnswer
from pipelines.backends.tensors import Answer, Arrays, ModelRef

log = logging.getLogger(__name__)
EXTENSION = "system_shared_memory"
KEPT = 8
"""Regions that wait for the next request; others are removed."""
SHAPES_KNOWN = 64
UNSHARE_SECONDS = 1.0
FOLDER = Path("/dev/shm")
"""Where Linux has them as files."""
PREFIX = "cytobus-"
FRESH_SECONDS = 60.0
"""A region that is younger may not be locked yet."""
_ALIGNED = 64
_TRIES = 5

Layout = dict[str, tuple[str, tuple[int, ...], int]]
"""Outputs by name: datatype, shape, bytes."""


def possible(extensions: Sequence[str]) -> bool:
    """Whether the server has it, and this system too."""
    return EXTENSION in extensions and sys.platform == "linux"


@dataclass
class _Region:
    """Memory that is also a file, as POSIX shared memory is on Linux; locked while its process lives, so that others
    can tell what was left behind."""

    name: str
    size: int
    file: IO[bytes]
    memory: mmap.mmap

    def view(self, dtype: Any, shape: Sequence[int], offset: int) -> NDArray[Any]:
        """An array in it."""
        return np.ndarray(tuple(shape), dtype, self.memory, offset)

    def destroy(self) -> None:
        """Give the memory back once nobody uses it any more."""
        with suppress(OSError):
            os.unlink(FOLDER / self.name)
        with suppress(BufferError):  # the array of a request that was called off may still be there
            self.memory.close()
        self.file.close()


@dataclass
class SharedMemory:
    """Requests by shared memory once it is known how large the outputs of such inputs are; before that by wire."""

    wire: Wire
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
        except Rejected as error:
            # A restarted server knows no region any more; another version may give larger outputs.
            log.info("shared memory with the model server: %s", error)
            self._layouts.pop(key, None)
            await self._forget_all()
            return await plain(self.wire, ref, inputs)

    async def close(self) -> None:
        """Remove all regions."""
        await self._forget_all()

    async def tidy(self) -> None:
        """Remove regions whose process was killed, here and at the server: each is some megabytes of memory."""
        for name in _left_behind():
            log.info("shared memory %s was left behind by a process that has ended", name)
            with suppress(Rejected, NotFound, NoAnswer, TimeoutError):
                await self.wire.unshare(name)

    def _learn(self, key: tuple[Any, ...], answer: Answer) -> None:
        outputs = answer.outputs.items()
        if all(array.dtype != object for _, array in outputs):
            self._layouts[key] = {
                name: (np_to_triton_dtype(array.dtype), array.shape, array.nbytes) for name, array in outputs
            }
        while len(self._layouts) > SHAPES_KNOWN:
            self._layouts.popitem(last=False)

    async def _shared(self, ref: ModelRef, inputs: Arrays, layout: Layout) -> Answer:
        size = sum(_room(array.nbytes) for array in inputs.values()) + sum(
            _room(size) for _, _, size in layout.values()
        )
        region = await self._take(size)
        if region is None:
            return await plain(self.wire, ref, inputs)
        try:
            offset, given = 0, []
            for name, array in inputs.items():
                region.view(array.dtype, array.shape, offset)[...] = array
                one = self.wire.input(name, array.shape, np_to_triton_dtype(array.dtype))
                one.set_shared_memory(region.name, array.nbytes, offset)
                given.append(one)
                offset += _room(array.nbytes)
            places, wanted = {}, []
            for name, (_, _, room) in layout.items():
                one = self.wire.output(name)
                one.set_shared_memory(region.name, room, offset)
                wanted.append(one)
                places[name] = offset
                offset += _room(room)
            version, said, _ = await self.wire.infer(ref, given, wanted)
            outputs = {name: _copied(region, one, places[name]) for name, one in said.items()}
        except BaseException:
            # The server may still read or write it: nobody else may have it.
            await asyncio.shield(self._remove(region))
            raise
        self._free.append(region)
        while len(self._free) > KEPT:
            await self._remove(self._free.pop(0))
        return Answer(outputs, version)

    async def _take(self, size: int) -> _Region | None:
        """A region that is large enough, and that the server knows; None where one cannot be had."""
        for at, region in enumerate(self._free):
            if region.size >= size:
                return self._free.pop(at)
        name = f"{PREFIX}{os.getpid()}-{uuid.uuid4().hex[:12]}"
        capacity = 1 << (size - 1).bit_length()
        try:
            region = _created(name, capacity)
        except OSError as error:
            self._gives_up(error)
            return None
        try:
            await self.wire.share(name, f"/{name}", capacity)
        except (Rejected, NotFound) as error:  # it runs in a container of its own, say
            self._gives_up(error)
            region.destroy()
            return None
        except BaseException:
            region.destroy()
            raise
        return region

    def _gives_up(self, error: Exception) -> None:
        log.warning("no shared memory with the model server, pictures go over the wire: %s", error)
        self._works = False

    async def _forget_all(self) -> None:
        while self._free:
            await self._remove(self._free.pop())

    async def _remove(self, region: _Region) -> None:
        for tries in range(_TRIES):
            try:
                async with asyncio.timeout(UNSHARE_SECONDS):  # it may stand still, which is why we are here
                    await self.wire.unshare(region.name)
                break
            except Rejected:  # it may be busy with the region for a moment after it has answered
                await asyncio.sleep(0.01 * 2**tries)
            except (NoAnswer, NotFound, TimeoutError):
                break
        region.destroy()


def _created(name: str, size: int) -> _Region:
    """A new region. Raises ``OSError``, also where there is not so much shared memory left."""
    file = (FOLDER / name).open("xb+")
    try:
        os.chmod(file.fileno(), 0o600)
        _lock(file)
        # Without room behind it, writing to the memory would end the process.
        os.posix_fallocate(file.fileno(), 0, size)
        return _Region(name, size, file, mmap.mmap(file.fileno(), size))
    except BaseException:
        (FOLDER / name).unlink(missing_ok=True)
        file.close()
        raise


def _copied(region: _Region, said: Any, offset: int) -> NDArray[Any]:
    """An output; it must not change with the next request."""
    shape = [int(side) for side in said["shape"]]
    return np.array(region.view(triton_to_np_dtype(said["datatype"]), shape, offset))


def _lock(file: IO[bytes]) -> None:
    """Ends with the process. Raises ``OSError`` where another has it."""
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _left_behind() -> list[str]:
    """Regions of ours that nobody holds any more, removed from this host; their names."""
    found = []
    for path in FOLDER.glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is somebody's, or gone
            if time.time() - path.stat().st_mtime > FRESH_SECONDS:
                with path.open("rb") as file:
                    _lock(file)
                    path.unlink()
                found.append(path.name)
    return found


def _room(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
