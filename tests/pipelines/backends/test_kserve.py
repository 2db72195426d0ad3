"""The client of the Open Inference Protocol, where no real server is wanted for it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.backends.address import parsed
from pipelines.backends.blocking import Blocking
from pipelines.backends.errors import BadAddress, Exchanged, Mismatch, Unavailable
from pipelines.backends.factory import backend
from pipelines.backends.kserve import KServe, Rejected
from pipelines.backends.kserve_memory import SystemMemory, memory_of
from pipelines.backends.openvino import repository
from pipelines.backends.patience import NoAnswer, Patience
from pipelines.backends.predictor import Predictor
from pipelines.backends.tensors import ModelRef
from tests.pipelines.backends.places import ROWS, place

X = {"x": np.ones((1, 2), np.float32)}


class Given:
    """An input or output of a request."""

    def __init__(self, name: str) -> None:
        self.name, self.shared = name, False

    def set_data_from_numpy(self, array: np.ndarray) -> None:
        self.array = array

    def set_shared_memory(self, region: str, size: int, offset: int) -> None:
        self.shared = True


class FakeWire:
    """A server that gives back twice what it gets by wire, and takes no shared memory."""

    same_host = True

    def __init__(self) -> None:
        self.version = "10"
        self.datatype, self.extensions, self.asked, self.shares, self.down = (
            "FP32",
            ["system_shared_memory"],
            0,
            0,
            False,
        )

    def input(self, name: str, shape: Sequence[int], datatype: str) -> Given:
        return Given(name)

    def output(self, name: str) -> Given:
        return Given(name)

    async def ready(self) -> bool:
        return True

    async def server(self) -> Mapping[str, Any]:
        return {"extensions": self.extensions}

    async def model(self, name: str, version: str) -> Mapping[str, Any]:
        if self.down:
            raise NoAnswer("refused")
        sides = {"datatype": self.datatype, "shape": ["-1", "-1"]}
        return {"versions": ["9", "10"], "inputs": [{"name": "x"} | sides], "outputs": [{"name": "y"} | sides]}

    async def infer(self, ref: ModelRef, inputs: Sequence[Given], outputs: Any) -> tuple[str, Mapping[str, Any], Any]:
        self.asked += 1
        if self.down:
            raise NoAnswer("refused")
        assert not any(one.shared for one in inputs)
        made = inputs[0].array * 2

        class Result:
            def as_numpy(self, name: str) -> np.ndarray:
                return made

        return self.version, {"y": {"datatype": "FP32", "shape": list(made.shape)}}, Result()

    async def share(self, name: str, key: str, size: int) -> None:
        self.shares += 1
        raise Rejected("Unable to open shared memory region")

    async def unshare(self, name: str) -> None: ...

    async def close(self) -> None: ...


async def test_a_server_that_cannot_open_our_shared_memory_gets_pictures_by_wire_and_is_not_asked_again() -> None:
    wire = FakeWire()
    asked = KServe(wire, Patience("kserve+grpc://127.0.0.1:1"), SystemMemory())

    for _ in range(4):
        answer = await asked.infer(ModelRef("m"), X)
        assert answer.outputs["y"].tolist() == [[2, 2]]

    assert (wire.asked, wire.shares) == (4, 1)


@pytest.mark.parametrize(("shm", "same_host", "extensions"), [
    ("off", True, ["system_shared_memory"]),
    ("auto", False, ["system_shared_memory"]),
    ("auto", True, []),
    ("on", True, []),
])  # fmt: skip
async def test_shared_memory_is_used_only_where_both_can(shm: str, same_host: bool, extensions: list[str]) -> None:
    wire = FakeWire()
    wire.extensions = extensions
    asked = KServe(wire, Patience("kserve+grpc://127.0.0.1:1"), memory_of(shm, same_host))

    for _ in range(3):
        await asked.infer(ModelRef("m"), X)

    assert (wire.asked, wire.shares) == (3, 0)


async def test_versions_are_told_in_the_order_of_their_numbers() -> None:
    asked = KServe(FakeWire(), Patience("kserve+grpc://h:1"))
    assert (await asked.load(ModelRef("m"))).versions == ("9", "10")


async def test_a_type_that_numpy_has_not_is_named_with_the_remedy() -> None:
    wire = FakeWire()
    wire.datatype = "BF16X"
    with pytest.raises(Mismatch, match=r"model 'm': 'x' is of type BF16X.*export it as FP32"):
        await KServe(wire, Patience("kserve+grpc://h:1")).load(ModelRef("m"))


def test_a_pipeline_notices_that_a_server_is_down_before_it_reads_an_image() -> None:
    wire = FakeWire()
    place = Blocking(KServe(wire, Patience("kserve+grpc://h:1", retries=2, first=0.0)))
    ask = Predictor(place, ModelRef("m"), ROWS)
    ask(X)
    wire.down = True
    with pytest.raises(Unavailable):
        ask(X)
    many = wire.asked

    with pytest.raises(Unavailable, match="waits for the model server kserve"):
        ask.ready()

    assert wire.asked == many, "nobody is asked for that"
    place.close()


def test_a_version_that_was_put_in_place_of_another_is_compared_before_its_answer_is_used() -> None:
    wire = FakeWire()
    place = Blocking(KServe(wire, Patience("kserve+grpc://h:1")))
    ask = Predictor(place, ModelRef("m"), ROWS)
    assert ask(X).version == "10"
    wire.version = "11"
    with pytest.raises(Exchanged, match=r"model 'm' at kserve\+grpc://h:1 was exchanged meanwhile"):
        ask(X)  # one piece of work is done by one version
    ask.ready()
    assert ask(X).version == "11"

    wire.version, wire.datatype = "12", "FP64"
    with pytest.raises(Mismatch, match=r"model 'm' at kserve\+grpc://h:1: input 'x' is float64 .* means float32"):
        ask(X)
    place.close()


async def test_answers_over_http_are_never_packed(tmp_path: Path) -> None:
    with place("ovms double http", tmp_path) as where:
        asked = where.opened()
        await asked.infer(ModelRef("logarithm"), X)
        await asked.close()
        assert where.double is not None
        assert where.double.offers == ["identity"]


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pipelines.backends.kserve_grpc", None)
    with pytest.raises(BadAddress, match=r"kserve\+grpc://h:1 needs a package .*pip install cytobus\[triton\]"):
        backend(parsed("kserve+grpc://h:1"), repository(tmp_path))
