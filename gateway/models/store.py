"""Which models there are and which each pipeline uses, in SQL; their packages, as files."""

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from contracts.disk import keep_folder, place
from contracts.errors import Conflict, NotFound
from contracts.models_of_pipelines import Choice, ModelInfo, ModelList, ModelVerdict
from contracts.ports import Clock
from gateway import tables as db
from gateway.reader import Reader
from gateway.writer import Writer


class ModelStore:
    """Models by the SHA-256 of their metadata. A package is on disk before its row is, and goes after it."""

    def __init__(self, writer: Writer, reader: Reader, clock: Clock, folder: Path) -> None:
        """``folder`` holds a file a model, ``PIPELINE/VERSION-DIGEST.zip``."""
        self._writer, self._reader, self._clock, self._folder = writer, reader, clock, folder

    def incoming(self) -> Path:
        """Where a package may be written while it comes in. Blocks."""
        keep_folder(self._folder)
        return self._folder / f".{uuid.uuid4().hex}.part"

    def package(self, info: ModelInfo) -> Path:
        """Where a model's package lies; no two can want the same place."""
        return self._folder / info.pipeline / f"{info.version}-{info.sha256[:12]}.zip"

    async def all(self) -> ModelList:
        """All models, by pipeline and age, and all choices."""

        def query(tx: sa.Connection) -> ModelList:
            models = [ModelInfo.model_validate_json(doc) for doc in tx.execute(sa.select(db.model.c.doc)).scalars()]
            choices = tx.execute(sa.select(db.model_choice.c.doc).order_by(db.model_choice.c.pipeline)).scalars()
            ordered = sorted(models, key=lambda one: (one.pipeline, one.at, one.version))
            return ModelList(models=tuple(ordered), choices=tuple(Choice.model_validate_json(doc) for doc in choices))

        found: ModelList = await self._reader.run(query)
        return found

    async def get(self, digest: str) -> ModelInfo:
        """One model. Raises ``NotFound``."""
        found: ModelInfo = await self._reader.run(lambda tx: _model(tx, digest))
        return found

    async def add(self, info: ModelInfo, package: Path) -> ModelInfo:
        """Keep a model whose package lies at ``package``, which is moved. The same model again changes nothing. Raises
        ``Conflict`` where another one has this version."""
        info = info.evolve(at=self._clock())
        await self._reader.run(lambda tx: _of_version(tx, info))
        target = self.package(info)
        await asyncio.to_thread(keep_folder, target.parent)
        await asyncio.to_thread(place, package, target)

        def work(tx: sa.Connection) -> ModelInfo:
            there = _of_version(tx, info)
            if there is None:
                tx.execute(db.model.insert(), _row(info))
            return there or info

        kept: ModelInfo = await self._writer.run(work)
        return kept

    async def judge(self, digest: str, verdict: ModelVerdict) -> ModelInfo:
        """Keep what the first trial has shown; later ones change nothing. Raises ``NotFound``."""

        def work(tx: sa.Connection) -> ModelInfo:
            info = _model(tx, digest)
            if info.state != "new":
                return info
            state = "ready" if verdict.good else "refused"
            info = info.evolve(state=state, reason=verdict.reason, seconds=verdict.seconds)
            tx.execute(db.model.update().where(db.model.c.sha256 == digest).values(_row(info)))
            return info

        found: ModelInfo = await self._writer.run(work)
        return found

    async def remove(self, digest: str) -> None:
        """Forget a model. Raises ``NotFound``, and ``Conflict`` while a pipeline uses it."""

        def work(tx: sa.Connection) -> ModelInfo:
            info = _model(tx, digest)
            choice = _choice(tx, info.pipeline)
            if choice.sha256 == digest:
                raise Conflict(f"{info.pipeline} uses version {info.version}: choose another one first")
            tx.execute(db.model.delete().where(db.model.c.sha256 == digest))
            if choice.before == digest:
                _choose(tx, choice.evolve(before="", can_roll_back=False))
            return info

        gone: ModelInfo = await self._writer.run(work)
        await asyncio.to_thread(self.package(gone).unlink, missing_ok=True)

    async def choose(self, pipeline: str, digest: str) -> Choice:
        """The pipeline's next job uses this model; '': its own. Raises ``NotFound``, and ``Conflict`` for one that no
        trial has shown to be good."""

        def edit(tx: sa.Connection, choice: Choice) -> Choice:
            if choice.sha256 == digest:
                return choice
            version = _usable(tx, pipeline, digest)
            return choice.evolve(sha256=digest, version=version, before=choice.sha256, can_roll_back=True)

        return await self._changed(pipeline, edit)

    async def roll_back(self, pipeline: str) -> Choice:
        """What was chosen before is chosen again. Raises ``Conflict`` where nothing was."""

        def edit(tx: sa.Connection, choice: Choice) -> Choice:
            if not choice.can_roll_back:
                raise Conflict(f"{pipeline} has used no other model before: choose one")
            version = _usable(tx, pipeline, choice.before)
            return choice.evolve(sha256=choice.before, version=version, before=choice.sha256)

        return await self._changed(pipeline, edit)

    async def pause(self, pipeline: str, *, paused: bool) -> Choice:
        """Whether the pipeline takes no new jobs; they wait."""
        return await self._changed(pipeline, lambda _tx, choice: choice.evolve(paused=paused))

    async def _changed(self, pipeline: str, edit: Callable[[sa.Connection, Choice], Choice]) -> Choice:
        def work(tx: sa.Connection) -> Choice:
            choice = edit(tx, _choice(tx, pipeline))
            _choose(tx, choice)
            return choice

        made: Choice = await self._writer.run(work)
        return made


def _row(info: ModelInfo) -> dict[str, Any]:
    named = {"sha256": info.sha256, "pipeline": info.pipeline, "version": info.version, "state": info.state}
    return named | {"doc": info.model_dump_json(by_alias=True)}


def _model(tx: sa.Connection, digest: str) -> ModelInfo:
    doc = tx.execute(sa.select(db.model.c.doc).where(db.model.c.sha256 == digest)).scalar()
    if doc is None:
        raise NotFound(f"there is no model {digest[:64]}")
    return ModelInfo.model_validate_json(doc)


def _of_version(tx: sa.Connection, info: ModelInfo) -> ModelInfo | None:
    """The very model, if it is there. Raises ``Conflict`` where another one has its version."""
    mine = (db.model.c.pipeline == info.pipeline) & (db.model.c.version == info.version)
    doc = tx.execute(sa.select(db.model.c.doc).where(mine)).scalar()
    known = ModelInfo.model_validate_json(doc) if doc is not None else None
    if known is not None and known.sha256 != info.sha256:
        raise Conflict(
            f"{info.pipeline} has another model of version {info.version}: give this one a version of its own"
        )
    return known


def _usable(tx: sa.Connection, pipeline: str, digest: str) -> str:
    """The version of a model that the pipeline may use."""
    if not digest:
        return ""
    info = _model(tx, digest)
    if info.pipeline != pipeline:
        raise Conflict(f"the model is for {info.pipeline}, not for {pipeline[:64]}")
    if info.state != "ready":
        what = f"was refused: {info.reason}" if info.state == "refused" else "has not been tried by a runner yet"
        raise Conflict(f"version {info.version} of {pipeline} {what}")
    return info.version


def _choice(tx: sa.Connection, pipeline: str) -> Choice:
    query = sa.select(db.model_choice.c.doc).where(db.model_choice.c.pipeline == pipeline).with_for_update()
    doc = tx.execute(query).scalar()
    return Choice(pipeline=pipeline) if doc is None else Choice.model_validate_json(doc)


def _choose(tx: sa.Connection, choice: Choice) -> None:
    mine, doc = db.model_choice.c.pipeline == choice.pipeline, choice.model_dump_json(by_alias=True)
    if not tx.execute(db.model_choice.update().where(mine).values(doc=doc)).rowcount:
        tx.execute(db.model_choice.insert().values(pipeline=choice.pipeline, doc=doc))
