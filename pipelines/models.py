"""The models that a runner's pipelines use: which are chosen at the gateway, fetched by digest, verified, tried."""

import asyncio
import hashlib
import json
import logging
import os
import random
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from contracts.desk import LONGEST_AWAY, pause_after
from contracts.disk import keep_folder
from contracts.errors import AppError, BadRequest, NotFound
from contracts.models_of_pipelines import METADATA, ModelInfo, ModelList, ModelVerdict, Package, opened
from pipelines.execution import Outcome, RunRequest, Status

log = logging.getLogger(__name__)
EVERY = 2.0
"""Seconds between two looks at what is chosen: so soon a choice holds."""
MOST_BYTES = 2**34
TRIAL = "pipelines.trial:ModelTrial"
TRIAL_SECONDS = 300.0
FAULTS = (Status.BAD_INPUT, Status.ERROR, Status.CRASHED, Status.TIMED_OUT)
"""Ends of a trial that are the model's fault."""


class ModelSource(Protocol):
    """The gateway's models. Raises one of ``contracts.errors``."""

    async def models(self) -> ModelList: ...

    async def fetch(self, sha256: str, target: Path) -> None: ...

    async def judge(self, sha256: str, verdict: ModelVerdict) -> None: ...


Run = Callable[[RunRequest], Awaitable[Outcome]]


class Models:
    """What pipelines of one runner use. A pipeline whose chosen model is not here (yet) gets no jobs: they wait, rather
    than be done by another model than people believe."""

    name = "models"

    def __init__(self, source: ModelSource, plugins: Mapping[str, str], cache: Path, run: Run) -> None:
        """``plugins``: ``module:Class`` by topic; ``cache``: a folder of our own; ``run``: in a worker process."""
        self._source, self._plugins, self._cache, self._run = source, dict(plugins), cache, run
        self._listed: ModelList | None = None
        self._sound: set[str] = set()
        self._news = asyncio.Event()
        self._troubles: dict[str, str] = {}
        self._away = ""

    @property
    def trouble(self) -> str:
        """Why a model cannot be had, or which are chosen is not known; empty when all is well."""
        return "; ".join(filter(None, [self._away, *self._troubles.values()]))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Choices are followed, and models fetched and tried, while the context is open."""
        tasks = [asyncio.create_task(work(), name=f"models: {work.__name__}") for work in (self._follow, self._tend)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def usable(self, topics: Iterable[str]) -> tuple[str, ...]:
        """Those that may be given jobs now: neither paused nor without the model that is chosen for them."""
        if self._listed is None:
            return ()
        barred = {
            one.pipeline for one in self._listed.choices if one.paused or (one.sha256 and one.sha256 not in self._sound)
        }
        return tuple(topic for topic in topics if topic not in barred)

    def folder(self, topic: str) -> Path | None:
        """Where the model lies that the next job of a pipeline is to use; None: its own."""
        chosen = [one.sha256 for one in self._listed.choices if one.pipeline == topic] if self._listed else []
        return self._cache / chosen[0] if chosen and chosen[0] in self._sound else None

    async def _follow(self) -> None:
        failures = 0
        while True:
            try:
                await self.look()
                failures, self._away = 0, ""
                await asyncio.sleep(EVERY)
            except Exception as error:  # whatever it is, the next look may do
                failures += 1
                self._away = "" if self._listed is not None else f"which models are chosen is not known: {error}"
                await asyncio.sleep(max(EVERY, pause_after(failures, longest=LONGEST_AWAY, chance=random.random())))

    async def look(self) -> None:
        """What is chosen now."""
        try:
            listed = await self._source.models()
        except NotFound:
            listed = ModelList()  # a gateway that knows no models
        if listed != self._listed:
            self._listed = listed
            self._news.set()

    def _mine(self) -> list[ModelInfo]:
        """Models for pipelines of this runner, those that are chosen first."""
        listed = self._listed or ModelList()
        chosen = {one.sha256 for one in listed.choices}
        mine = [one for one in listed.models if one.pipeline in self._plugins and one.state != "refused"]
        return sorted(mine, key=lambda one: one.sha256 not in chosen)

    async def _tend(self) -> None:
        failures = 0
        while True:
            self._news.clear()
            try:
                await self.tend()
                failures = 0
            except Exception as error:  # the gateway is away, or the disk is full
                failures += 1
                log.warning("models cannot be seen to now: %s", error)
            try:
                pause = pause_after(failures, longest=LONGEST_AWAY, chance=random.random()) if failures else None
                async with asyncio.timeout(pause):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def tend(self) -> None:
        """Fetch what is missing here, try what nobody has tried, forget what is no more."""
        mine, first = self._mine(), None
        for one in mine:
            try:
                await self._have(one)
                self._troubles.pop(one.sha256, None)
                if one.state == "new":
                    await self._judge(one, await self._try(one))
            except (BadRequest, NotFound) as error:
                self._troubles[one.sha256] = f"model {one.version} of {one.pipeline} cannot be used here: {error}"
                if one.state == "new":
                    await self._judge(one, ModelVerdict(good=False, reason=str(error)[:1000]))
            except (AppError, OSError) as error:
                self._troubles[one.sha256] = f"model {one.version} of {one.pipeline} cannot be fetched: {error}"
                first = first or error
        known = {one.sha256 for one in (self._listed or ModelList()).models}
        self._troubles = {digest: why for digest, why in self._troubles.items() if digest in known}
        await asyncio.to_thread(self._tidy, known)
        if first is not None:
            raise first

    async def _have(self, one: ModelInfo) -> None:
        """The model lies in the cache, and is the one that was asked for."""
        if one.sha256 in self._sound:
            return
        if not await asyncio.to_thread(_is_sound, self._cache / one.sha256, one.sha256):
            await asyncio.to_thread(keep_folder, self._cache)
            part = self._cache / f".{uuid.uuid4().hex}"
            try:
                await self._source.fetch(one.sha256, part.with_suffix(".zip"))
                await asyncio.to_thread(unpack, part, one.sha256, self._cache / one.sha256)
            finally:
                await asyncio.to_thread(_remove, part)
        self._sound.add(one.sha256)

    async def _try(self, one: ModelInfo) -> ModelVerdict:
        """In a worker process: what crashes there crashes nothing else. Raises ``OSError`` where none can be had."""
        folder = self._cache / one.sha256
        request = RunRequest(
            job=f"model-{one.sha256[:16]}",
            topic=one.pipeline,
            plugin=TRIAL,
            image=folder / METADATA,
            folder=self._cache / "trials",
            parameters={"plugin": self._plugins[one.pipeline]},
            timeout=TRIAL_SECONDS,
            model=folder,
        )
        outcome = await self._run(request)
        if outcome.status in FAULTS:
            return ModelVerdict(good=False, reason=outcome.reason or str(outcome.status))
        if outcome.status is not Status.DONE:
            raise OSError(f"the trial of model {one.version} of {one.pipeline}: {outcome.reason or outcome.status}")
        return ModelVerdict(good=True, seconds=float(json.loads(outcome.results)["seconds"]))

    async def _judge(self, one: ModelInfo, verdict: ModelVerdict) -> None:
        log.info("model %s of %s: %s", one.version, one.pipeline, verdict.reason or "it is good")
        await self._source.judge(one.sha256, verdict)
        await self.look()

    def _tidy(self, known: set[str]) -> None:
        """Models that the gateway has no more, and what a crash has left."""
        if not self._cache.is_dir():
            return
        for path in self._cache.iterdir():
            if path.name not in known and (len(path.name) == 64 or path.name.startswith(".")):
                self._sound.discard(path.name)
                _remove(path)


def _is_sound(folder: Path, sha256: str) -> bool:
    """Whether a model in the cache is whole and undamaged: disks forget. Blocks."""
    try:
        content = (folder / METADATA).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            return False
        for name, digest in json.loads(content)["files"].items():
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    return False
    except (OSError, ValueError, KeyError):
        return False
    return True


def unpack(part: Path, sha256: str, target: Path) -> None:
    """From ``part.zip`` to the target folder, whole or not at all. Raises ``BadRequest`` for another model, or none."""
    with opened(part.with_suffix(".zip")) as archive:
        package = Package(archive, MOST_BYTES)
        if package.sha256 != sha256:
            raise BadRequest("the gateway's package is of another model than it says: upload it again")
        package.check()
        for name in package.metadata.files:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            with package.pieces(name) as source, (part / name).open("wb") as file:
                shutil.copyfileobj(source, file, 2**20)
        (part / METADATA).write_bytes(package.content)
    _remove(target)
    os.replace(part, target)
    if not _is_sound(target, sha256):
        raise OSError(f"what was written to {target} reads differently")


def _remove(path: Path) -> None:
    path.with_suffix(".zip").unlink(missing_ok=True)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
