"""A double of ``tritonclient.utils.cuda_shared_memory``, which cannot be had without a GPU: its regions are ordinary
memory. It shows how the calls are used, not that a GPU would do as they say; see tests/gpu."""

import base64
from dataclasses import dataclass, field
from typing import Any

import numpy as np

GPUS = 1


class CudaSharedMemoryException(Exception):
    """As there."""


@dataclass
class Region:
    name: str
    content: bytearray
    device: int
    raw: bytes = field(default=b"")


regions: dict[bytes, Region] = {}
"""By raw handle: all that were created and not destroyed."""


def create_shared_memory_region(triton_shm_name: str, byte_size: int, device_id: int) -> Region:
    if device_id >= GPUS:
        raise CudaSharedMemoryException("unable to create cuda shared memory handle")
    made = Region(triton_shm_name, bytearray(byte_size), device_id)
    made.raw = base64.b64encode(triton_shm_name.encode().ljust(64, b"\0"))
    regions[made.raw] = made
    return made


def get_raw_handle(cuda_shm_handle: Region) -> bytes:
    return cuda_shm_handle.raw


def set_shared_memory_region(cuda_shm_handle: Region, input_values: list[np.ndarray]) -> None:
    if not isinstance(input_values, list | tuple):
        raise CudaSharedMemoryException("input_values must be specified as a list/tuple of numpy arrays")
    given = b"".join(np.ascontiguousarray(one).tobytes() for one in input_values)
    if len(given) > len(cuda_shm_handle.content):
        raise CudaSharedMemoryException("unable to set the shared memory region")
    cuda_shm_handle.content[: len(given)] = given


def get_contents_as_numpy(cuda_shm_handle: Region, datatype: Any, shape: list[int]) -> np.ndarray:
    count = int(np.prod(shape))
    return np.frombuffer(bytes(cuda_shm_handle.content), datatype, count).reshape(shape)


def destroy_shared_memory_region(cuda_shm_handle: Region) -> None:
    if regions.pop(cuda_shm_handle.raw, None) is None:
        raise CudaSharedMemoryException("unable to close cuda shared memory")
