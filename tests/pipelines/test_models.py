"""A runner's models: fetched by digest and verified, tried in a worker process, used from the next job on."""

import asyncio
import io
import json
import re
import tempfile
import time
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile

from contracts import web
from contracts.client import HttpModels
from contracts.errors import Away
from contracts.models import State
from contracts.models_of_pipelines import Choice, ModelInfo, ModelList, ModelVerdict, Package, opened
from pipelines import models as seeing_to
from pipelines.execution import Outcome, RunRequest, Status
from pipelines.models import Models
from pipelines.nuclei.pipeline import Nuclei
from pipelines.nuclei.trial import tried
from pipelines.plugin import BadInput, WithModel, Work
from pipelines.registry import Installed, installed
from pipelines.runner import Runner
from pipelines.workers import Workers
from tests.pipelines.backends.networks import save, scaled
from tests.support import stories as s
from tests.support.house import house_in
from tests.support.models import SHIPPED, nuclei, package, zipped
from tests.support.waiting import eventually

GOOD = Outcome(Status.DONE, results='{"seconds": 0.5}')
PLUGINS = {"only-file": "m:C"}


class Gateway:
    """Has packages and choices, and hears verdicts."""

    def __init__(self, *packages: bytes) -> None:
        self.packages: dict[str, bytes] = {}
        self.infos: dict[str, ModelInfo] = {}
        self.chosen: dict[str, Choice] = {}
        self.verdicts: list[ModelVerdict] = []
        self.fetched = 0
        self.away = False
        for one in packages:
            self.add(one)

    def add(self, content: bytes) -> str:
        with opened(io.BytesIO(content)) as archive:
            found = Package(archive, 10**9)
        said = found.metadata
        self.packages[found.sha256] = content
        self.infos[found.sha256] = ModelInfo(
            pipeline=said.pipeline, version=said.version, sha256=found.sha256, state="new"
        )
        return found.sha256

    def choose(self, pipeline: str, digest: str, *, paused: bool = False) -> None:
        self.chosen[pipeline] = Choice(pipeline=pipeline, sha256=digest, paused=paused)

    async def models(self) -> ModelList:
        if self.away:
            raise Away("nobody answers")
        return ModelList(models=tuple(self.infos.values()), choices=tuple(self.chosen.values()))

    async def fetch(self, sha256: str, target: Path) -> None:
        if self.away:
            raise Away("nobody answers")
        self.fetched += 1
        await asyncio.to_thread(target.write_bytes, self.packages[sha256])

    async def judge(self, sha256: str, verdict: ModelVerdict) -> None:
        self.verdicts.append(verdict)
        self.infos[sha256] = self.infos[sha256].evolve(state="ready" if verdict.good else "refused")


def models_of(gateway: Gateway, cache: Path, outcome: Outcome = GOOD) -> Models:
    async def run(request: RunRequest) -> Outcome:
        assert request.model is not None
        assert (request.model / "metadata.json").is_file()
        return outcome

    return Models(gateway, PLUGINS, cache, run)


async def seen_to(models: Models) -> None:
    await models.look()
    await models.tend()


async def test_a_new_model_is_fetched_verified_tried_and_judged_once(tmp_path):
    gateway = Gateway(package())
    models = models_of(gateway, tmp_path / "cache")
    await seen_to(models)
    await seen_to(models)
    assert [(one.good, one.seconds) for one in gateway.verdicts] == [(True, 0.5)]
    assert gateway.fetched == 1
    (digest,) = gateway.infos
    assert (tmp_path / "cache" / digest / "fp32" / "model.xml").read_bytes() == b"<net/>"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [digest]


@pytest.mark.parametrize("status", [Status.BAD_INPUT, Status.ERROR, Status.CRASHED, Status.TIMED_OUT])
async def test_a_model_that_breaks_its_trial_is_refused_with_the_reason(tmp_path, status):
    gateway = Gateway(package())
    await seen_to(models_of(gateway, tmp_path / "cache", Outcome(status, reason="it is broken")))
    assert [(one.good, one.reason) for one in gateway.verdicts] == [(False, "it is broken")]


async def test_a_trial_without_room_or_input_says_nothing_of_the_model(tmp_path):
    gateway = Gateway(package())
    models = models_of(gateway, tmp_path / "cache", Outcome(Status.NO_ROOM, reason="disk full"))
    await models.look()
    with pytest.raises(OSError, match="disk full"):
        await models.tend()
    assert gateway.verdicts == []
    assert "disk full" in models.trouble


async def test_a_pipeline_gets_no_jobs_until_its_chosen_model_is_here_and_none_while_it_is_paused(tmp_path):
    gateway = Gateway(package())
    (digest,) = gateway.infos
    models = models_of(gateway, tmp_path / "cache")
    assert models.usable(["only-file", "other"]) == (), "what is chosen is not known yet"
    await models.look()
    assert models.usable(["only-file", "other"]) == ("only-file", "other")
    assert models.folder("only-file") is None
    gateway.choose("only-file", digest)
    await models.look()
    assert models.usable(["only-file", "other"]) == ("other",)
    await models.tend()
    assert models.usable(["only-file", "other"]) == ("only-file", "other")
    assert models.folder("only-file") == tmp_path / "cache" / digest
    gateway.choose("only-file", digest, paused=True)
    await models.look()
    assert models.usable(["only-file", "other"]) == ("other",)


async def test_what_is_chosen_holds_while_the_gateway_is_away(tmp_path, monkeypatch):
    monkeypatch.setattr(seeing_to, "EVERY", 0.001)
    gateway = Gateway(package())
    (digest,) = gateway.infos
    gateway.choose("only-file", digest)
    models = models_of(gateway, tmp_path / "cache")
    async with models.running():
        await eventually(lambda: _true(models.folder("only-file") is not None))
        gateway.away = True
        await asyncio.sleep(0)
        assert models.folder("only-file") == tmp_path / "cache" / digest
        assert models.trouble == ""


async def test_a_cache_that_was_damaged_is_fetched_again_and_what_is_gone_at_the_gateway_is_forgotten(tmp_path):
    gateway, cache = Gateway(package()), tmp_path / "cache"
    (digest,) = gateway.infos
    await seen_to(models_of(gateway, cache))
    await seen_to(models_of(gateway, cache))
    assert gateway.fetched == 1, "a sound cache is used by the next process"
    (cache / digest / "fp32" / "model.xml").write_bytes(b"<bet/>")
    models = models_of(gateway, cache)
    await seen_to(models)
    assert gateway.fetched == 2
    assert (cache / digest / "fp32" / "model.xml").read_bytes() == b"<net/>"
    gateway.infos.clear()
    await seen_to(models)
    assert list(cache.iterdir()) == []


async def test_a_package_of_another_model_is_never_used(tmp_path):
    gateway = Gateway(package())
    (digest,) = gateway.infos
    gateway.packages[digest] = package(network="another")
    gateway.choose("only-file", digest)
    models = models_of(gateway, tmp_path / "cache")
    await seen_to(models)
    assert [one.good for one in gateway.verdicts] == [False]
    assert models.usable(["only-file"]) == ()
    assert "of another model" in models.trouble


async def test_models_for_pipelines_of_other_runners_are_left_alone(tmp_path):
    gateway = Gateway(package(pipeline="another"))
    await seen_to(models_of(gateway, tmp_path / "cache"))
    assert (gateway.fetched, gateway.verdicts) == (0, [])


async def _true(value: bool) -> bool:
    return value


# --- nuclei


def unpacked(folder: Path, content: bytes) -> Path:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)
    return next(folder.iterdir())


def test_the_shipped_model_passes_its_own_trial_and_has_a_card():
    assert isinstance(Nuclei(), WithModel)
    assert tried(SHIPPED) > 0
    card = Nuclei().model_card()
    assert (card.version, len(card.sha256)) == ("2", 64)
    assert card.about["metrics"]["test"]["int8"]["fluo"]["f1"] > 0.9
    assert len(json.dumps(card.about)) < 4000, "it is told every half minute"
    assert installed()["nuclei"].about["model"]["version"] == "2"
    assert "model" not in installed()["only-file"].about


def test_the_folder_of_the_shipped_model_is_a_package_as_it_stands():
    files = {path.relative_to(SHIPPED).as_posix(): path.read_bytes() for path in SHIPPED.rglob("*") if path.is_file()}

    with opened(io.BytesIO(zipped(files))) as archive:
        package = Package(archive, 2**30)
        package.check()

    assert "source/model.safetensors" in package.metadata.files


def untrained() -> bytes:
    """Weights whose last floats are no numbers."""
    xml = (SHIPPED / "fp32" / "model.xml").read_text()
    floats = re.findall(r'<data element_type="f32" shape="[^"]*" offset="(\d+)" size="(\d+)"', xml)
    whole = bytearray(BIN)
    for offset, size in [found for found in floats if int(found[1]) > 64][-2:]:
        whole[int(offset) : int(offset) + int(size)] = b"\xff" * int(size)
    return bytes(whole)


def another() -> bytes:
    """A network that takes and gives something else."""
    with tempfile.TemporaryDirectory() as folder:
        return (save(scaled(1.0), Path(folder) / "made") / "model.xml").read_bytes()


BIN = (SHIPPED / "fp32" / "model.bin").read_bytes()
BROKEN = {
    "no network": (nuclei("9", fp32_xml=b"<net/>"), "OpenVINO cannot run fp32/model.xml"),
    "another network": (nuclei("9", fp32_xml=another()), "none for this pipeline: .* has no input 'image'"),
    "half of the weights": (nuclei("9", fp32_bin=BIN[: len(BIN) // 2]), "OpenVINO cannot run fp32/model.xml"),
    "weights that are no numbers": (nuclei("9", fp32_bin=untrained()), "not finite"),
    "one precision": (package({"fp32/model.xml": b"<net/>"}, at="9/", pipeline="nuclei"), "does not name"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_model_that_cannot_take_the_shipped_ones_place_is_refused_with_the_reason(tmp_path, what):
    content, words = BROKEN[what]
    with pytest.raises(BadInput, match=words):
        tried(unpacked(tmp_path, content))


def test_a_job_names_the_model_by_which_it_was_done(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((128, 128), 40, np.uint8))
    mine = unpacked(tmp_path / "model", nuclei("7"))
    for folder, version in ((None, "2"), (mine, "7")):
        (out := tmp_path / version).mkdir()
        told = json.loads(Nuclei().run(Work(tmp_path / "a.tif", out, model=folder)).results)
        assert told["model"]["version"] == version
        assert len(told["model"]["sha256"]) == 64


async def test_a_trial_in_a_worker_process_ends_well_or_with_the_reason_and_never_with_the_runner(tmp_path):
    gateway = Gateway(nuclei("2"), nuclei("3", fp32_xml=b"<net/>"), package(pipeline="simple", version="4"))
    simple = "pipelines.simulators:OnlyFile"
    async with Workers(1) as workers:
        plugins = {"nuclei": "pipelines.nuclei.pipeline:Nuclei", "simple": simple}
        models = Models(gateway, plugins, tmp_path / "cache", workers.run)
        await seen_to(models)
    told = {info.version: info.state for info in gateway.infos.values()}
    assert told == {"2": "ready", "3": "refused", "4": "refused"}
    reasons = sorted(one.reason for one in gateway.verdicts if not one.good)
    assert ["OpenVINO cannot run" in reasons[0], "uses no model" in reasons[1]] == [True, True]
    assert [one.seconds > 0 for one in gateway.verdicts if one.good] == [True]


# --- in a runner


class QuickWorkers:
    """Does every run at once, and remembers with which model."""

    def __init__(self) -> None:
        self.used: list[Path | None] = []

    async def start(self) -> None: ...

    async def run(self, request: RunRequest) -> Outcome:
        self.used.append(request.model)
        if request.plugin == seeing_to.TRIAL:
            self.used.pop()
            return GOOD
        return Outcome(Status.DONE, request.folder, (), "{}", "passed")

    async def close(self) -> None: ...


async def test_a_choice_holds_from_the_next_job_on_and_a_paused_pipelines_jobs_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(seeing_to, "EVERY", 0.01)
    gateway, workers = Gateway(package()), QuickWorkers()
    (digest,) = gateway.infos
    async with house_in(tmp_path) as house:
        house.clock.now = time.time_ns()
        plugins = {"only-file": Installed("only-file", "m:C")}
        cache = tmp_path / "cache"
        runner = Runner(
            *(house.jobs, house.launcher, plugins, workers, house.bus, house.clock),
            worker="pc-1", size=1, drain_seconds=0.0, models=gateway, model_cache=cache,
        )  # fmt: skip

        async def done(name: str) -> bool:
            return (await house.store.get(name)).state is State.PROCESSED

        async def launch(name: str) -> None:
            await house.store.apply([*s.full_story(name)[:3], s.requested(name)])

        async with runner.running():
            await launch("one")
            await eventually(lambda: done("one"))
            gateway.choose("only-file", digest)
            held = runner.described()[0]["topic"]
            await eventually(lambda: _true(runner.model_of(held) is not None))
            await launch("two")
            await eventually(lambda: done("two"))
            gateway.choose("only-file", digest, paused=True)
            await eventually(lambda: _true(not runner.takes(held)))
            await launch("three")
            gateway.choose("other", "")
            assert not await done("three")
            gateway.choose("only-file", "")
            await eventually(lambda: done("three"))
    assert workers.used == [None, cache / digest, None]


async def test_a_runner_hears_of_models_over_http_and_an_older_gateway_has_none(tmp_path):
    async def answer(scope, receive, send):
        await web.error("404 page not found", 404)(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(answer), base_url="http://old") as client:
        models = Models(HttpModels(client), PLUGINS, tmp_path / "cache", QuickWorkers().run)
        await models.look()
    assert models.usable(["only-file"]) == ("only-file",)
