"""Memory that a process shares with a model server on the same host: the system's, or a GPU's."""

import mmap
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.backends.errors import BadAddress

if TYPE_CHECKING:
    from pipelines.backends.kserve import Wire

FOLDER = Path("/dev/shm")
"""Where Linux has shared memory as files."""
PREFIX = "cytobus-"
FRESH_SECONDS = 60.0
"""A region that is younger may not be locked yet."""


class NoMemory(Exception):
    """No such region can be made, or it is gone."""


class Memory(Protocol):
    """One kind of it. A region holds one tensor, from its first byte on. ``create``, ``write`` and ``read`` may raise
    ``NoMemory``."""

    extension: str
    """What a server calls it that can."""

    def create(self, name: str, size: int) -> Any:
        """A handle to so many bytes."""
        ...

    def write(self, handle: Any, array: NDArray[Any]) -> None: ...

    def read(self, handle: Any, dtype: Any, shape: Sequence[int]) -> NDArray[Any]:
        """A copy of what is there."""
        ...

    def destroy(self, handle: Any) -> None:
        """Give it back; never raises."""
        ...

    def left_behind(self) -> list[str]:
        """Names of regions whose process has ended without giving them back; they are given back now."""
        ...

    async def share(self, wire: "Wire", name: str, handle: Any, size: int) -> None:
        """Tell the server of it. Raises as the wire does."""
        ...

    async def unshare(self, wire: "Wire", name: str) -> None: ...


@dataclass
class _File:
    """POSIX shared memory, which on Linux is also a file; locked while its process lives, so that others can tell what
    was left behind."""

    path: Path
    file: IO[bytes]
    memory: mmap.mmap


class SystemMemory:
    """POSIX shared memory."""

    extension = "system_shared_memory"

    def __init__(self) -> None:
        """Raises ``BadAddress`` on a system that has none."""
        if sys.platform != "linux":
            raise BadAddress(f"shared memory with a model server needs Linux, this is {sys.platform}; set ?shm=off")

    def create(self, name: str, size: int) -> Any:
        try:
            return _created(FOLDER / name, size)
        except OSError as error:
            raise NoMemory(f"{size} bytes of shared memory cannot be had: {error}") from error

    def write(self, handle: Any, array: NDArray[Any]) -> None:
        np.ndarray(array.shape, array.dtype, handle.memory)[...] = array

    def read(self, handle: Any, dtype: Any, shape: Sequence[int]) -> NDArray[Any]:
        return np.array(np.ndarray(tuple(shape), dtype, handle.memory))

    def destroy(self, handle: Any) -> None:
        with suppress(OSError):
            handle.path.unlink()
        with suppress(BufferError):  # the array of a request that was called off may still be there
            handle.memory.close()
        handle.file.close()

    async def share(self, wire: "Wire", name: str, handle: Any, size: int) -> None:
        await wire.share(name, f"/{name}", size)

    async def unshare(self, wire: "Wire", name: str) -> None:
        await wire.unshare(name)

    def left_behind(self) -> list[str]:
        """By the locks, which end with the process that had them."""
        found = []
        for path in FOLDER.glob(f"{PREFIX}*"):
            with suppress(OSError):  # it is somebody's, or gone
                if time.time() - path.stat().st_mtime > FRESH_SECONDS:
                    with path.open("rb") as file:
                        _lock(file)
                        path.unlink()
                    found.append(path.name)
        return found


def _created(path: Path, size: int) -> _File:
    """Raises ``OSError``, also where there is not so much shared memory left."""
    file = path.open("xb+")
    try:
        os.chmod(file.fileno(), 0o600)
        _lock(file)
        # Without room behind it, writing to the memory would end the process.
        os.posix_fallocate(file.fileno(), 0, size)
        return _File(path, file, mmap.mmap(file.fileno(), size))
    except BaseException:
        path.unlink(missing_ok=True)
        file.close()
        raise


def _lock(file: IO[bytes]) -> None:
    """Raises ``OSError`` where another has it."""
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class CudaMemory:
    """Memory of a GPU, which the server opens by a handle of CUDA's: pictures are copied to the GPU here, once."""

    extension = "cuda_shared_memory"

    def __init__(self, device: int = 0, calls: Any = None) -> None:
        """``calls``: the module ``tritonclient.utils.cuda_shared_memory``, or what stands for it. Raises ``BadAddress``
        where CUDA's bindings are missing, or there is no such GPU."""
        self._calls, self._device = calls or _cuda(), device
        self._error = self._calls.CudaSharedMemoryException
        try:
            self.destroy(self.create("cytobus-probe", 64))
        except NoMemory as error:
            raise BadAddress(f"shm=cuda: no memory on GPU {device} ({error}); set ?shm=auto") from error

    def create(self, name: str, size: int) -> Any:
        try:
            return self._calls.create_shared_memory_region(name, size, self._device)
        except self._error as error:
            raise NoMemory(str(error)) from error

    def write(self, handle: Any, array: NDArray[Any]) -> None:
        try:
            self._calls.set_shared_memory_region(handle, [array])
        except self._error as error:
            raise NoMemory(str(error)) from error

    def read(self, handle: Any, dtype: Any, shape: Sequence[int]) -> NDArray[Any]:
        try:
            return np.array(self._calls.get_contents_as_numpy(handle, dtype, list(shape)))
        except self._error as error:
            raise NoMemory(str(error)) from error

    def destroy(self, handle: Any) -> None:
        with suppress(self._error):
            self._calls.destroy_shared_memory_region(handle)

    def left_behind(self) -> list[str]:
        """None: CUDA gives back what a process had."""
        return []

    async def share(self, wire: "Wire", name: str, handle: Any, size: int) -> None:
        await wire.share_cuda(name, self._calls.get_raw_handle(handle), self._device, size)

    async def unshare(self, wire: "Wire", name: str) -> None:
        await wire.unshare_cuda(name)


def _cuda() -> Any:
    try:
        from tritonclient.utils import cuda_shared_memory
    except (ImportError, RuntimeError) as error:
        raise BadAddress(
            f"shm=cuda needs CUDA's bindings ({error}): pip install cuda-python, or set ?shm=auto"
        ) from error
    return cuda_shared_memory


def memory_of(text: str, same_host: bool) -> Memory | None:
    """``auto``: the system's where the server seems to be on this host; ``on``: the system's; ``cuda``, ``cuda:1``: a
    GPU's; ``off``: none. Raises ``BadAddress``."""
    kind, _, device = text.partition(":")
    if kind == "cuda" and (device or "0").isdecimal():
        return CudaMemory(int(device or 0))
    if text not in ("auto", "on", "off"):
        raise BadAddress(f"shm={text!r} must be one of auto, on, off, cuda, cuda:1 …")
    if text == "off" or (text == "auto" and not (same_host and sys.platform == "linux")):
        return None
    return SystemMemory()
