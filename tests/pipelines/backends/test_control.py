"""Loading and unloading at servers, as far as a double goes; the real Triton is in ``test_triton``."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.backends.address import parsed
from pipelines.backends.control import OvmsControl
from pipelines.backends.errors import BadModel, Unavailable
from pipelines.backends.factory import backend
from pipelines.backends.openvino import repository
from pipelines.backends.repository import Served, Versions, add_version, write_ovms
from pipelines.backends.tensors import ModelRef
from tests.doubles.ovms import OvmsDouble
from tests.pipelines.backends.networks import save, scaled
from tests.pipelines.backends.places import ROWS
from tests.support.redis_server import free_port

X = {"x": np.ones((1, 2), np.float32)}


def put(folder: Path, served: Served, version: int, factor: float) -> None:
    made = save(scaled(factor), folder / f".made-{version}")
    add_version(folder, served, version, {name: made / name for name in ("model.xml", "model.bin")})


@pytest.mark.parametrize("kind", ["grpc", "http", "tfs"])
async def test_a_new_version_is_used_once_the_server_has_read_its_repository_anew(tmp_path: Path, kind: str) -> None:
    served = Served("scaled", "openvino", ROWS, versions=Versions(latest=1))
    put(tmp_path, served, 1, 2.0)
    double = OvmsDouble(write_ovms(tmp_path / "config.json", [served], str(tmp_path)))
    asked = backend(parsed(double.address(kind)), repository(tmp_path))
    try:
        async with OvmsControl(f"http://127.0.0.1:{double.http_port}") as control:
            first = await asked.infer(ModelRef("scaled"), X)
            put(tmp_path, served, 2, 3.0)
            assert await control.reload()
            assert not await control.reload()
            second = await asked.infer(ModelRef("scaled"), X)
            assert (await control.status())["scaled"]["model_version_status"][0]["version"] == "2"
        assert (first.version, first.outputs["y"].tolist()) == ("1", [[2, 2]])
        assert (second.version, second.outputs["y"].tolist()) == ("2", [[3, 3]])
        with pytest.raises(BadModel, match="model 'scaled' version 1 is not at"):
            await asked.infer(ModelRef("scaled", "1"), X)
    finally:
        await asked.close()
        double.stop()


async def test_a_server_that_is_not_there_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with OvmsControl(url) as control:
        with pytest.raises(Unavailable, match=url):
            await control.reload()
