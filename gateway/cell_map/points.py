"""The newest cells in memory, as columns: what the map shows, and what is selected on it."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import BadRequest
from gateway.cell_map.rules import Floats, Kept, Mask, within

Column = npt.NDArray[Any]
PLAIN: Mapping[str, str] = {
    "id": "float64",
    "x": "float32",
    "y": "float32",
    "class": "uint16",
    "instrument": "uint16",
    "model": "uint16",
    "at": "uint32",
}
"""Fields of every cell. Ids as JavaScript has them, exact up to 2^53; ``at`` is seconds since the epoch; ``class``,
``instrument`` and ``model`` are places in lists of names."""
FIRST = 4096
MOST_FEATURES = 200


@dataclass(frozen=True)
class Wanted:
    """Which cells; what is empty does not narrow. Times are ns, ``until`` no longer meant."""

    models: tuple[str, ...] = ()
    instruments: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    ids: tuple[int, ...] = ()
    polygon: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Source:
    """The cells of a job: those that came with one table."""

    sequence: int
    job: str
    model: str
    instrument: str
    at: int
    classes: tuple[str, ...]
    names: tuple[str, ...]
    cells: Kept
    features: Floats
    """(features, cells), in the order of ``names``."""
    map: int = 0
    """The version of the map by which they lie; 0: that which came with the model."""


@dataclass
class _Names:
    """Words as small numbers, in the order in which they came."""

    all: list[str] = field(default_factory=list)

    def code(self, name: str) -> int:
        if name not in self.all:
            self.all.append(name)
        return self.all.index(name)

    def codes(self, names: Sequence[str]) -> list[int]:
        """Of those that are known."""
        return [self.all.index(name) for name in names if name in self.all]


class Points:
    """Grows at the end; beyond ``most`` cells the oldest go. May be used from several threads: what it answers is a
    copy, as it was at one moment."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._columns: dict[str, Column] = {}
        self._features: dict[str, Column] = {}
        self._count = 0
        self.came = 0
        """Cells that were ever added."""
        self._jobs = _Names()
        self._job_codes: dict[str, int] = {}
        self.names = {name: _Names() for name in ("class", "instrument", "model")}
        self.last = 0
        """The sequence up to which sources are known."""
        for name, kind in (
            *PLAIN.items(),
            ("sequence", "int64"),
            ("job", "int64"),
            ("number", "int32"),
            ("here", "bool"),
        ):
            self._columns[name] = np.zeros(FIRST, kind)

    def __len__(self) -> int:
        return int(self._columns["here"][: self._count].sum())

    def features(self) -> list[str]:
        """Names, as they came."""
        return list(self._features)

    def add(self, source: Source) -> None:
        """A source that comes after all that are known. The cells that were told of its job before are gone."""
        with self._lock:
            self._replace(source.job)
            self._append(source)
            self.last = max(self.last, source.sequence)
            if self._count > self._most + max(FIRST, self._most // 10):
                self._drop_oldest()

    def move(self, ids: Column, places: Column, novelty: Column) -> None:
        """Cells (n) lie elsewhere now: ``places`` (n, 2), and their feature ``novelty`` (n)."""
        with self._lock:
            order = np.argsort(ids)
            ids, places, novelty = ids[order].astype(np.float64), places[order], novelty[order]
            mine = np.nonzero(np.isin(self._columns["id"][: self._count], ids))[0]
            theirs = np.searchsorted(ids, self._columns["id"][mine])
            self._columns["x"][mine], self._columns["y"][mine] = places[theirs, 0], places[theirs, 1]
            if "novelty" in self._features:
                self._features["novelty"][mine] = novelty[theirs]

    def newest(self, model: str) -> npt.NDArray[np.int64]:
        """Ids of the cells of a model, as they came."""
        with self._lock:
            return self._columns["id"][: self._count][
                self._mask(Wanted(models=(model,)), slice(0, self._count))
            ].astype(np.int64)

    def remove_cells(self, ids: Column) -> None:
        """These are shown no more."""
        with self._lock:
            n = self._count
            self._columns["here"][:n] &= ~np.isin(self._columns["id"][:n], ids)

    def _replace(self, job: str) -> None:
        if (code := self._job_codes.get(job)) is not None:
            n = self._count
            self._columns["here"][:n] &= self._columns["job"][:n] != code

    def _append(self, source: Source) -> None:
        count, start = len(source.cells), self._count
        self._grow(start + count)
        here = slice(start, start + count)
        job = self._job_codes.setdefault(source.job, len(self._job_codes))
        if job == len(self._jobs.all):
            self._jobs.all.append(source.job)
        codes = np.array([self.names["class"].code(name) for name in source.classes], np.uint16)
        values: Mapping[str, Any] = {
            "id": source.cells["id"],
            "x": source.cells["x"],
            "y": source.cells["y"],
            "class": codes[source.cells["code"]],
            "instrument": self.names["instrument"].code(source.instrument),
            "model": self.names["model"].code(source.model),
            "at": source.at // 10**9,
            "sequence": source.sequence,
            "job": job,
            "number": source.cells["number"],
            "here": True,
        }
        for name, value in values.items():
            self._columns[name][here] = value
        for name, column in zip(source.names, source.features, strict=True):
            if name not in self._features and len(self._features) < MOST_FEATURES:
                self._features[name] = np.full(len(self._columns["id"]), np.nan, np.float32)
            if name in self._features:
                self._features[name][here] = column
        self._count = start + count
        self.came += count

    def _grow(self, wanted: int) -> None:
        size = len(self._columns["id"])
        if wanted <= size:
            return
        size = max(wanted, size + size // 2)
        for name, column in self._columns.items():
            self._columns[name] = np.concatenate([column, np.zeros(size - len(column), column.dtype)])
        for name, column in self._features.items():
            self._features[name] = np.concatenate([column, np.full(size - len(column), np.nan, np.float32)])

    def _drop_oldest(self) -> None:
        """The newest are kept, whole sources at a time."""
        sequence = self._columns["sequence"][: self._count]
        keep = (np.arange(self._count) >= self._count - self._most) & self._columns["here"][: self._count]
        keep &= sequence != sequence[max(0, self._count - self._most - 1)]
        self._count = int(keep.sum())
        for every in (self._columns, self._features):
            for name, column in every.items():
                left = column[: len(keep)][keep]
                fresh = np.full(len(column), np.nan, np.float32) if every is self._features else np.zeros_like(column)
                fresh[: len(left)] = left
                every[name] = fresh

    # --- what is asked

    def chunk(
        self, fields: Sequence[str], wanted: Wanted, after: int, most: int
    ) -> tuple[dict[str, Column], int, bool]:
        """Cells that came after a sequence, whole sources, about ``most``; the sequence of the last, and whether there
        are more. Raises ``BadRequest`` for a field that nobody knows."""
        with self._lock:
            self._check(fields)
            sequence = self._columns["sequence"][: self._count]
            start = int(np.searchsorted(sequence, after, "right"))
            end = self._count
            if end - start > most:
                last = sequence[start + most - 1]
                end = max(int(np.searchsorted(sequence, last, "left")), start)
                if end == start:  # one source alone is more than was asked for
                    end = int(np.searchsorted(sequence, last, "right"))
            until = int(sequence[end - 1]) if end > start else self.last
            chosen = start + np.nonzero(self._mask(wanted, slice(start, end)))[0]
            return {name: self._field(name)[chosen] for name in fields}, until, end < self._count

    def rows(self, wanted: Wanted, fields: Sequence[str]) -> dict[str, Column]:
        """Columns of all cells that are wanted: fields, ``job`` (names), ``number``, ``sequence``. Raises as above."""
        with self._lock:
            self._check([name for name in fields if name not in ("job", "number", "sequence")])
            chosen = np.nonzero(self._mask(wanted, slice(0, self._count)))[0]
            jobs = np.array(self._jobs.all, object)
            return {
                name: jobs[self._columns["job"][chosen]] if name == "job" else self._field(name)[chosen]
                for name in fields
            }

    def named(self, field: str, codes: Column) -> list[str]:
        """Words of codes."""
        return [self.names[field].all[code] for code in codes]

    def _field(self, name: str) -> Column:
        return self._columns[name] if name in self._columns else self._features[name]

    def _check(self, fields: Sequence[str]) -> None:
        for name in fields:
            if name not in PLAIN and name not in self._features:
                known = ", ".join([*PLAIN, *self._features])
                raise BadRequest(f"there is no field {name[:100]!r}: there are {known}")

    def _mask(self, wanted: Wanted, here: slice) -> Mask:
        columns = {name: column[here] for name, column in self._columns.items()}
        found: Mask = columns["here"].copy()
        for name, said in (("model", wanted.models), ("instrument", wanted.instruments), ("class", wanted.classes)):
            if said:
                found &= np.isin(columns[name], self.names[name].codes(said))
        if wanted.since is not None:
            found &= columns["at"] >= wanted.since // 10**9
        if wanted.until is not None:
            found &= columns["at"] < -(-wanted.until // 10**9)
        if wanted.ids:
            found &= np.isin(columns["id"], np.array(wanted.ids, np.float64))
        if wanted.polygon:
            found &= within(columns["x"], columns["y"], wanted.polygon)
        return found
