"""An index of vectors for each version of a model: vectors of two versions have nothing to do with each other."""

import contextlib
import hashlib
import json
import logging
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from contracts.disk import keep_folder, place
from contracts.errors import AppError, BadRequest, Conflict, NotFound
from gateway.vectors.port import Damaged, VectorIndex
from gateway.vectors.remote import RemoteIndex
from gateway.vectors.sharded import ShardedIndex
from gateway.vectors.stored import Plan, StoredIndex

log = logging.getLogger(__name__)
MOST = 64
"""Versions of models."""
ABOUT = "space.json"


class Spaces:
    """Made when the first vector comes, opened when they are asked for. All of it blocks."""

    def __init__(self, folder: Path, plan: Plan, shards: Sequence[httpx.Client] = (), *, name: str = "vectors") -> None:
        """``shards``: processes that keep the vectors, each a part, in this order; none: they are kept here, in the
        folder."""
        self._folder, self._plan, self._shards = folder, plan, tuple(shards)
        self.name = name
        self._open: dict[str, VectorIndex] = {}
        self._lock = threading.Lock()
        self._closed = False

    def known(self) -> dict[str, int]:
        """The length of vectors by model. Raises ``Damaged``."""
        found = {}
        for path in sorted(self._folder.glob(f"*/{ABOUT}")):
            said = _said(path)
            found[said["Model"]] = int(said["Dimension"])
        return found

    def get(self, model: str) -> VectorIndex:
        """The index of a model. Raises ``NotFound`` where no vector of it is kept."""
        with self._lock:
            if model in self._open:
                return self._open[model]
            path = self._place(model) / ABOUT
            if not path.is_file():
                raise NotFound(f"no vectors of the model {model[:100]!r} are kept: add some, or correct the name")
            return self._opened(model, _said(path))

    def make(self, model: str, dimension: int) -> VectorIndex:
        """The same, made where it is not there. Raises ``BadRequest`` for vectors of another length."""
        with contextlib.suppress(NotFound):
            return _of_length(self.get(model), model, dimension)
        with self._lock:
            path = self._place(model) / ABOUT
            if not path.is_file():
                self._begin(path, model, dimension)
            index = self._open.get(model) or self._opened(model, _said(path))
        return _of_length(index, model, dimension)

    def _begin(self, path: Path, model: str, dimension: int) -> None:
        if len(list(self._folder.glob(f"*/{ABOUT}"))) >= MOST:
            raise Conflict(f"vectors of {MOST} models are kept already: delete those of one that is used no more")
        keep_folder(path.parent)
        temporary = path.with_name(f".{uuid.uuid4().hex}.part")
        said = {"Model": model, "Dimension": dimension, "Shards": len(self._shards)}
        temporary.write_text(json.dumps(said))
        place(temporary, path)

    def _place(self, model: str) -> Path:
        return self._folder / hashlib.sha256(model.encode()).hexdigest()[:16]

    def _opened(self, model: str, said: Mapping[str, Any]) -> VectorIndex:
        if self._closed:
            raise Conflict("the cell index stops: ask again after its start")
        if said["Shards"] != len(self._shards):
            raise Conflict(
                f"the vectors of {model} lie in {said['Shards'] or 'no'} shards, and gateway.cells.shards names"
                f" {len(self._shards)}: name those again, or embed the cells anew into an empty folder"
            )
        dimension = int(said["Dimension"])
        index: VectorIndex
        if self._shards:
            index = ShardedIndex([RemoteIndex(client, model, dimension) for client in self._shards])
        else:
            index = StoredIndex(self._place(model) / "index", dimension, self._plan)
        self._open[model] = index
        return index

    def warm(self) -> None:
        """Open all, so that the first to ask does not wait. What cannot be opened is told in the log, and to who asks
        for it."""
        with self._troubles():
            for model in self.known():
                with self._troubles():
                    self.get(model)

    @contextlib.contextmanager
    def _troubles(self) -> Iterator[None]:
        try:
            yield
        except (AppError, OSError) as error:
            log.error("vectors of cells: %s", error)

    def about(self) -> dict[str, dict[str, Any]]:
        """Statistics by model; of one that cannot be opened, why."""
        found = {}
        for model, dimension in self.known().items():
            try:
                told = dict(self.get(model).about())
            except AppError as error:
                told = {"count": 0, "troubles": [str(error)]}
            found[model] = {"dimension": dimension, **told}
        return found

    @property
    def trouble(self) -> str:
        """What is damaged here or cannot be done now, of what is open; empty when all is well."""
        local = [one for one in tuple(self._open.values()) if isinstance(one, StoredIndex)]
        return "; ".join(words for one in local for words in one.troubles())

    def close(self) -> None:
        """Close all that is open."""
        with self._lock:
            self._closed = True
            for index in self._open.values():
                index.close()
            self._open.clear()


def _of_length(index: VectorIndex, model: str, dimension: int) -> VectorIndex:
    if index.dimension != dimension:
        raise BadRequest(f"vectors of {model} have {index.dimension} numbers, not {dimension}: name the right model")
    return index


def _said(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_bytes())
        return {"Model": str(said["Model"]), "Dimension": int(said["Dimension"]), "Shards": int(said["Shards"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path} cannot be read ({error}): put it back from a copy of its folder") from None
