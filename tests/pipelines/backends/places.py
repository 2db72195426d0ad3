"""The places where the models of nuclei run in tests, each started once for those that want it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.backends import python_model_file
from pipelines.backends.address import parsed
from pipelines.backends.factory import backend
from pipelines.backends.openvino import repository
from pipelines.backends.port import Backend
from pipelines.backends.repository import Served, add_version, write_config, write_ovms
from pipelines.backends.tensors import Signature, Tensor
from pipelines.nuclei.serving import export
from tests.doubles.ovms import OvmsDouble
from tests.pipelines.backends.networks import logarithm, save
from tests.support.bento import BentoServer
from tests.support.bento import environment as bento_environment
from tests.support.triton import TritonServer, environment

LIGHT = ("openvino", "openvino throughput", "ovms double grpc", "ovms double http", "ovms double tfs")
SERVING = ("triton grpc", "triton http", "triton grpc shared", "triton http shared", "triton grpc stream", "bentoml")
ALL = [*LIGHT, *(pytest.param(name, marks=pytest.mark.serving) for name in SERVING)]


ROWS = Signature((Tensor("x", "float32", (None, None)),), (Tensor("y", "float32", (None, None)),))


@dataclass
class Place:
    """Where models run: a setting of ``pipelines.backends``, and how to make it go away and come back."""

    address: str
    folder: Path
    stop: Callable[[], None] | None = None
    start: Callable[[], None] | None = None
    double: OvmsDouble | None = None
    control: str = ""
    """Where a Triton is told to load and unload."""

    def opened(self) -> Backend:
        return backend(parsed(self.address), repository(self.folder), "f32")


@contextmanager
def place(name: str, folder: Path) -> Iterator[Place]:
    """A place with the models of nuclei, and one that gives NaN. Skips where it cannot be had."""
    kind, *more = name.split()
    if kind == "openvino":
        filled(folder, "triton-openvino")
        yield Place(f"openvino?hint={more[0] if more else 'latency'}&threads=2", folder)
    elif kind == "ovms":
        filled(folder, "ovms")
        double = OvmsDouble(folder / "config.json")
        try:
            yield Place(f"{double.address(more[-1])}?retries=1", folder, double.stop, double.start, double)
        finally:
            double.stop()
    elif kind == "bentoml":
        with bento() as served:
            yield Place(f"{served.address}?retries=1", folder, served.kill, served.start)
    else:
        with triton(folder) as server:
            shared = "on" if more[-1] == "shared" else "off"
            stream = "&stream=on" if more[-1] == "stream" else ""
            address = f"{server.address(more[0])}?retries=1&shm={shared}{stream}"
            yield Place(address, folder, server.kill, server.start, None, server.url)


@contextmanager
def triton(folder: Path) -> Iterator[TritonServer]:
    """A real Triton with those models. Skips with the reason where it cannot be had."""
    try:
        environment()
    except LookupError as error:
        pytest.skip(str(error))
    filled(folder, "triton-python")
    server = TritonServer(folder, ("nuclei", "nuclei-int8", "logarithm"))
    try:
        yield server
    finally:
        server.close()


@contextmanager
def bento() -> Iterator[BentoServer]:
    """A real BentoML server with the models of nuclei. Skips with the reason where it cannot be had."""
    try:
        bento_environment()
    except LookupError as error:
        pytest.skip(str(error))
    server = BentoServer()
    try:
        yield server
    finally:
        server.close()


def filled(folder: Path, kind: str) -> None:
    """A repository for a kind of server."""
    models = export(folder, kind, base=str(folder))
    made = save(logarithm(), folder / ".made")
    files: dict[str, bytes | Path] = {name: made / name for name in ("model.xml", "model.bin")}
    if kind == "triton-python":
        files["model.py"] = python_model_file()
    model = Served("logarithm", models[0].backend, ROWS)
    add_version(folder, model, 1, files)
    if kind == "ovms":
        write_ovms(folder / "config.json", [*models, model], str(folder))
    else:
        write_config(folder, model)
