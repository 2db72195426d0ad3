"""Pictures by memory that client and server share: the system's, and a GPU's (its double)."""

import ast
import inspect
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import shared_memory

from pipelines.backends.errors import BadAddress
from pipelines.backends.kserve import KServe
from pipelines.backends.kserve_memory import CudaMemory, Memory, SystemMemory, memory_of
from pipelines.backends.kserve_shm import KEPT
from pipelines.backends.patience import Patience
from pipelines.backends.tensors import ModelRef
from tests.doubles import cuda_memory
from tests.pipelines.backends.test_kserve import FakeWire, Given

REF = ModelRef("m")


class Placed(Given):
    def set_shared_memory(self, region: str, size: int) -> None:
        self.shared, self.region, self.size = True, region, size


class SharingWire(FakeWire):
    """A server that opens our regions, reads its input there, and writes its output there."""

    def __init__(self) -> None:
        super().__init__()
        self.extensions = ["system_shared_memory", "cuda_shared_memory"]
        self.known: dict[str, Any] = {}
        self.by_memory = 0

    def input(self, name: str, shape: Sequence[int], datatype: str) -> Placed:
        made = Placed(name)
        made.shape = tuple(shape)
        return made

    def output(self, name: str) -> Placed:
        return Placed(name)

    async def infer(self, ref: ModelRef, inputs: Sequence[Any], outputs: Any) -> tuple[str, Mapping[str, Any], Any]:
        if not inputs[0].shared:
            return await super().infer(ref, inputs, outputs)
        self.by_memory += 1
        calls, where = self.known[inputs[0].region]
        shape = list(inputs[0].shape)
        made = 2 * calls.get_contents_as_numpy(where, np.float32, shape)
        calls, where = self.known[outputs[0].region]
        assert outputs[0].size == made.nbytes
        calls.set_shared_memory_region(where, [made])
        return self.version, {"y": {"datatype": "FP32", "shape": shape}}, None

    async def share(self, name: str, key: str, size: int) -> None:
        self.known[name] = (shared_memory, shared_memory.create_shared_memory_region(name, key, size, False))

    async def unshare(self, name: str) -> None:
        shared_memory.destroy_shared_memory_region(self.known.pop(name)[1])

    async def share_cuda(self, name: str, handle: bytes, device: int, size: int) -> None:
        region = cuda_memory.regions[handle]
        assert (region.device, len(region.content)) == (device, size)
        self.known[name] = (cuda_memory, region)

    async def unshare_cuda(self, name: str) -> None:
        self.known.pop(name)


@pytest.fixture(params=["system", "cuda double"])
def memory(request: pytest.FixtureRequest) -> Memory:
    return SystemMemory() if request.param == "system" else CudaMemory(calls=cuda_memory)


async def test_pictures_go_by_memory_once_the_size_of_the_answer_is_known(memory: Memory) -> None:
    wire = SharingWire()
    asked = KServe(wire, Patience("kserve+grpc://127.0.0.1:1"), memory)
    for number in range(5):
        given = {"x": np.full((3, 40), number, np.float32)}
        answer = await asked.infer(REF, given)
        assert (answer.outputs["y"] == 2 * number).all()
        assert answer.outputs["y"].shape == (3, 40)
    assert wire.by_memory == 4
    assert len(wire.known) == 2, "regions are used again"
    await asked.close()
    assert wire.known == {}
    assert cuda_memory.regions == {}


async def test_so_many_regions_are_kept_and_no_more(memory: Memory) -> None:
    wire = SharingWire()
    asked = KServe(wire, Patience("kserve+grpc://127.0.0.1:1"), memory)
    for side in (2**n for n in range(3, 15)):
        for _ in range(2):
            await asked.infer(REF, {"x": np.ones((1, side), np.float32)})
    assert len(wire.known) <= KEPT
    await asked.close()


def test_without_a_gpu_a_setting_that_wants_one_says_what_is_missing() -> None:
    if find_spec("cuda") is not None:
        pytest.skip("CUDA's bindings are installed here")
    with pytest.raises(BadAddress, match=r"CUDA's bindings .*pip install cuda-python, or set \?shm=auto"):
        memory_of("cuda", same_host=True)


def test_a_gpu_that_is_not_there_is_named() -> None:
    with pytest.raises(BadAddress, match="no memory on GPU 3"):
        CudaMemory(3, calls=cuda_memory)


def test_the_double_has_the_calls_of_the_real_module() -> None:
    found = find_spec("tritonclient.utils")
    assert found is not None
    assert found.origin is not None
    source = Path(found.origin).parent / "cuda_shared_memory" / "__init__.py"
    real = {
        one.name: [arg.arg for arg in one.args.args]
        for one in ast.parse(source.read_text()).body
        if isinstance(one, ast.FunctionDef)
    }
    mine_too = inspect.getmembers(cuda_memory, lambda one: getattr(one, "__module__", "") == cuda_memory.__name__)
    for name, mine in (one for one in mine_too if inspect.isfunction(one[1])):
        assert real[name] == list(inspect.signature(mine).parameters), name
