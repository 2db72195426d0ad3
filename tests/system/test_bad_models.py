"""Whole jobs whose model is no good: each ends with a reason that names model, version and remedy; others go on."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import openvino as ov
import pytest

from pipelines.backends import python_model_file
from pipelines.backends.control import TritonControl
from pipelines.backends.errors import BadModel
from pipelines.backends.repository import write_config
from pipelines.nuclei.model import VERSION
from pipelines.nuclei.serving import served
from tests.pipelines.backends.networks import flat_maps, save, scaled
from tests.pipelines.backends.places import ROWS, Place, place
from tests.support.instance import Instance
from tests.support.models import nuclei
from tests.support.waiting import eventually
from tests.system.test_model_server import history, picture

BAD = "nuclei-int8"
"""Its jobs ask for this one; all others for ``nuclei``, which stays good."""
Served = Callable[[str, ov.Model | None], None]


@pytest.fixture(params=["ovms double grpc", pytest.param("triton grpc", marks=pytest.mark.serving)])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place(request.param, tmp_path / "repository") as found:
        yield found


@pytest.fixture
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Instance]:
    where = request.getfixturevalue("server").address if "server" in request.fixturenames else "openvino"
    made = Instance(
        tmp_path / "data",
        CYTOBUS_PIPELINES__TOPICS='["nuclei"]',
        CYTOBUS_PIPELINES__BACKENDS=json.dumps({"nuclei": where}),
        CYTOBUS_PIPELINES__WORKERS="1",
        CYTOBUS_PIPELINES__ATTEMPTS="1",
    )
    made.start()
    made.add_task("nuclei", '{"in": ["int8", {"var": "InputFile.Name"}]}', precision="int8")
    made.add_task("nuclei", '{"!": {"in": ["int8", {"var": "InputFile.Name"}]}}')
    yield made
    made.close()


def serve(server: Place, version: str, network: ov.Model | None) -> None:
    """Have the server serve this as the only version of ``BAD``; None: a file that no server can read."""
    folder = server.folder / BAD
    for old in folder.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
    if network is None:
        (folder / version).mkdir()
        (folder / version / "model.xml").write_text("<net>")
        (folder / version / "model.bin").write_bytes(b"")
    else:
        save(network, folder / version)
    if server.double is not None:
        server.double.restart()
        return
    shutil.copy(python_model_file(), folder / version / "model.py")
    config = replace(served("int8", "triton-python"), warm_up=())
    if network is not None and network.inputs[0].get_any_name() == "x":
        config = replace(config, signature=ROWS)
    write_config(server.folder, config)
    asyncio.run(loaded_anew(server))


async def loaded_anew(server: Place) -> None:
    """What cannot be loaded is left out, as an operator may do."""
    async with TritonControl(server.control) as control:
        await control.unload(BAD)

        async def gone() -> bool:
            return not [one for one in await control.index() if one["name"] == BAD and one.get("state") == "READY"]

        await eventually(gone, 60)
        with suppress(BadModel):
            await control.load(BAD)


def ended(instance: Instance, name: str) -> tuple[str, dict[str, object], str]:
    """Process an image: the state in which its job ends, its results, and the whole history as text."""
    instance.drop(name, picture(2))

    def job() -> dict[str, object]:
        states = ("complete", "quarantined", "failed")
        found = [one | {"State": state} for state in states for one in instance.jobs(name=name, state=state)]
        return found[0] if found else {}

    instance.wait_for(lambda: bool(job()), 120, f"the job of {name} did not end")
    found = job()
    results = json.loads(found["PipelineDetails"]["Results"] or "{}")  # type: ignore[index]
    return str(found["State"]), results, "\n".join(history(instance, str(found["Id"])))


BY_NAME = {
    "inputs that do not fit": (
        "6",
        scaled(1.0),
        "model 'nuclei-int8' at {place} has no input 'image' (it has 'x'); serve",
    ),
    "maps that are no numbers": (
        "3",
        flat_maps(float("nan")),
        "model 'nuclei-int8' version 3 at {place} gave NaN or inf",
    ),
    "our version's number on another model": (
        VERSION,
        flat_maps(0.5),
        f"version {VERSION} at {{place}} is not the version {VERSION} that is",
    ),
    "a file that cannot be read": ("4", None, "model 'nuclei-int8' is not at {place}"),
}


@pytest.mark.system
def test_a_bad_model_at_a_server_ends_its_jobs_with_the_reason_and_no_other(instance: Instance, server: Place) -> None:
    where = server.address.partition("?")[0]
    for number, (what, (version, network, words)) in enumerate(BY_NAME.items()):
        serve(server, version, network)
        state, _, told = ended(instance, f"int8-{number}.tif")
        assert (what, state) == (what, "quarantined")
        assert words.format(place=where) in told, (what, told)
        state, results, _ = ended(instance, f"good-{number}.tif")
        assert (state, results["count"]) == ("complete", 3)

    serve(server, "9", flat_maps(0.25))  # a version that nobody knows here is what the server says that it is
    state, results, _ = ended(instance, "int8-9.tif")
    assert (state, results["count"]) == ("complete", 0)
    assert results["model"] == {"version": "9", "sha256": "", "name": BAD, "place": where}


@pytest.mark.system
def test_a_model_in_the_worker_whose_files_were_damaged_is_named_and_others_go_on(
    instance: Instance, tmp_path: Path
) -> None:
    uploaded = instance.ask("POST", "task-launcher", "/api/v1/models", content=nuclei("7")).json()["Sha256"]

    def ready() -> bool:
        listed = instance.ask("GET", "task-launcher", "/api/v1/models").json()
        return any(one["Sha256"] == uploaded and one["State"] == "ready" for one in listed["Models"])

    instance.wait_for(ready, 120, "the model was not tried")
    damaged = tmp_path / "data" / "models" / uploaded / "int8" / "model.bin"
    content = damaged.read_bytes()
    damaged.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    chosen = {"Sha256": uploaded}
    assert instance.ask("PUT", "task-launcher", "/api/v1/pipelines/nuclei/model", json=chosen).is_success

    def uses() -> str:
        return str(ended(instance, f"good-{len(instance.jobs())}.tif")[1]["model"]["version"])  # type: ignore[index]

    instance.wait_for(lambda: uses() == "7", 120, "the choice does not hold")
    state, _, told = ended(instance, "int8.tif")
    assert state == "quarantined"
    assert f"{uploaded}: int8/model.bin is not the file that metadata.json describes" in told
    assert ended(instance, "good-at-last.tif")[0] == "complete"
