"""Memory of this machine's GPU, as it is shared with a model server."""

import base64

import numpy as np
import pytest

from pipelines.backends.errors import BadAddress
from pipelines.backends.kserve_memory import CudaMemory, NoMemory


def missing() -> str:
    """Why there is none; empty where there is."""
    try:
        CudaMemory()
    except BadAddress as error:
        return str(error)
    return ""


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(missing()), reason=missing() or "a GPU is here")]


@pytest.mark.parametrize("shape", [(1, 1, 256, 256), (3, 5), (1, 1, 2048, 2048)])
def test_what_is_written_is_read_again(shape: tuple[int, ...]) -> None:
    memory, given = CudaMemory(), np.random.default_rng(1).random(shape, np.float32)
    region = memory.create("cytobus-test", given.nbytes)
    try:
        memory.write(region, given)
        np.testing.assert_array_equal(memory.read(region, np.float32, shape), given)
    finally:
        memory.destroy(region)


async def test_a_server_is_given_the_handle_by_which_cuda_opens_it() -> None:
    class Told:
        async def share_cuda(self, name: str, handle: bytes, device: int, size: int) -> None:
            self.said = name, len(base64.b64decode(handle)), device, size

    memory, told = CudaMemory(), Told()
    region = memory.create("cytobus-test", 4096)
    try:
        await memory.share(told, "cytobus-test", region, 4096)  # type: ignore[arg-type]
    finally:
        memory.destroy(region)
    assert told.said == ("cytobus-test", 64, 0, 4096)


def test_more_than_the_gpu_has_is_an_error() -> None:
    with pytest.raises(NoMemory):
        CudaMemory().create("cytobus-huge", 2**50)
