"""Maps of cells for the cell index: those that came with encoders, and newer ones that are fitted here."""

import asyncio
import contextlib
import hashlib
import shutil
import sys
import threading
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compose.encoders import Encoders, explained
from contracts.disk import keep_folder, sync_file, sync_folder
from contracts.errors import Conflict
from gateway.cell_map.charts import Charted, Drift
from gateway.cell_map.rules import Floats

if TYPE_CHECKING:
    from pipelines.embedding.atlas import Atlas
    from pipelines.nuclei.model import ModelFolder

KEPT = 2
"""Versions of a map that stay on the disk."""


class CellCharts:
    """A published map is a folder ``MODEL/VERSION`` that appears whole, and is never changed."""

    def __init__(self, folder: Path, encoders: Encoders) -> None:
        self._root, self._encoders = folder, encoders
        self._lock = threading.Lock()
        self._open: dict[str, tuple[int, Atlas | None]] = {}

    def version(self, model: str) -> int:
        """Of the newest map; 0: the one that came with the model."""
        return max(self._versions(model), default=0)

    def placed(self, model: str, vectors: Floats) -> Charted | None:
        """See ``Charts``."""
        if not self.version(model):
            return None
        with explained("the map"), self._lock:
            version, atlas = self._atlas(model, vectors)
            if atlas is None:
                return None
            return Charted(version, atlas.places(vectors), atlas.novelty(vectors))

    def drift(self, model: str, vectors: Floats) -> Drift | None:
        """See ``Charts``."""
        with explained("to see whether cells lie off the map"), self._lock:
            from pipelines.embedding.drift import Watch, verdict, watched

            _, atlas = self._atlas(model, vectors)
            if atlas is None:
                return None
            found = atlas.novelty(vectors)
            told = verdict(watched(Watch(), found.tolist(), atlas.reach), atlas.reach)
            return Drift(int((found > atlas.reach.limit).sum()), len(found), told.drifted)

    async def refit(self, model: str, vectors: Floats) -> None:
        """In a process of its own; the map that is there serves until the new one is whole."""
        if find_spec("umap") is None or find_spec("torch") is None:
            raise Conflict(
                "a new map needs the training packages: pip install 'cytobus[train]' here; or elsewhere cytobus cells "
                "refit, and upload what it makes as a model"
            )
        now = await asyncio.to_thread(self._newest, model)
        if now is None:
            raise Conflict(f"the model {model} is not here: upload it, and its map can be fitted anew")
        home, version = self._home(model), self.version(model) + 1
        part = home / f".{uuid.uuid4().hex}.part"
        try:
            await asyncio.to_thread(_prepared, part, vectors)
            await _fitted(part / "vectors.npy", now.path, part / str(version))
            await asyncio.to_thread(_publish, part / str(version), home / str(version))
        finally:
            await asyncio.to_thread(shutil.rmtree, part, ignore_errors=True)
        for old in sorted(self._versions(model))[:-KEPT]:
            await asyncio.to_thread(shutil.rmtree, home / str(old), ignore_errors=True)

    def _home(self, model: str) -> Path:
        return self._root / hashlib.sha256(model.encode()).hexdigest()[:16]

    def _versions(self, model: str) -> list[int]:
        return [int(path.name) for path in self._home(model).glob("[0-9]*") if path.name.isdigit()]

    def _newest(self, model: str) -> "ModelFolder | None":
        from pipelines.nuclei.model import ModelFolder

        version = self.version(model)
        return ModelFolder(self._home(model) / str(version)) if version else self._encoders.folder(model)

    def _atlas(self, model: str, vectors: Floats) -> tuple[int, "Atlas | None"]:
        """The newest map, if there is one for vectors of this length, and its version."""
        from pipelines.embedding.atlas import Atlas, has_map
        from pipelines.embedding.model import WIDTH

        version = self.version(model)
        if self._open.get(model, (-1, None))[0] != version:
            folder = self._newest(model)
            self._open[model] = version, Atlas(folder) if folder is not None and has_map(folder) else None
        return self._open[model] if vectors.shape[1] == WIDTH else (version, None)


def _prepared(part: Path, vectors: Floats) -> None:
    """A folder to work in; what others have left there that were killed is gone."""
    for old in part.parent.glob(".*.part"):
        shutil.rmtree(old, ignore_errors=True)
    keep_folder(part)
    np.save(part / "vectors.npy", vectors.astype(np.float32))


async def _fitted(vectors: Path, model: Path, out: Path) -> None:
    """Raises ``Conflict`` with the last words of the process that has failed."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "compose.refitting", str(vectors), str(model), str(out)),
        stdin=pipe,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=pipe,
    )
    assert process.stderr is not None  # a pipe, as was asked for
    try:
        said = await process.stderr.read()
        code = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if code:
        last = (said.decode(errors="replace").strip().splitlines() or [f"it ended with {code}"])[-1]
        raise Conflict(f"the map could not be fitted anew: {last[:500]}")


def _publish(made: Path, target: Path) -> None:
    for path in made.rglob("*"):
        if path.is_file():
            sync_file(path)
    made.replace(target)
    sync_folder(target.parent)
