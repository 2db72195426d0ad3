"""What the gates of the map of cells say of a batch of frames: ``contracts.gates.decide`` in columns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.gates import Action, Bound, Gate, Rule
from contracts.stream import GateList
from contracts.stream_decisions import DECIDED, MOST_GATES, Decision
from pipelines.stream.port import Findings

Mask = NDArray[np.bool_]
ROW = np.dtype(
    [("at", "<u8"), ("accepting", "<u8"), ("rejecting", "<u8"), ("edition", "<u8"), ("x", "<f4"), ("y", "<f4")]
)
"""``contracts.stream_decisions.DECIDED``."""
assert ROW.itemsize == DECIDED.size
PROBABILITY = "probability"
"""A feature that every model measures."""


@dataclass(frozen=True)
class Known:
    """What can be known of a frame."""

    model: str
    """As gates call it."""
    classes: tuple[str, ...]
    places: bool = False
    """Whether frames have places on the map."""
    features: tuple[str, ...] = ()

    def lacks(self, gate: Gate) -> str:
        """Why a gate says nothing of the frames of this model; empty: it does."""
        rule = gate.rule
        if rule.model and rule.model != self.model:
            return f"belongs to the map of model {rule.model}; frames are seen by {self.model or 'another'}"
        if rule.polygon and not self.places:
            return "goes by places on the map, which frames of this model do not have"
        if gate.map and (rule.polygon or any(bound.feature in self.features for bound in rule.bounds)):
            anew = f"goes by the map that the gateway has fitted anew (version {gate.map}), which this stream has not"
            return f"{anew}: delete the gate, or choose a model with that map"
        missing = sorted({one.feature for one in rule.bounds} - {PROBABILITY, *self.features})
        return f"goes by {', '.join(missing)}, which a stream does not measure" if missing else ""


@dataclass(frozen=True)
class Judged:
    """What gates say of N frames."""

    edition: int
    inferred: int
    """ns since 1970, when it was begun."""
    decided: int
    """ns since 1970, when it was done."""
    rows: bytes
    """N times ``DECIDED``."""
    decisions: Sequence[int]
    """N of ``Decision``."""
    accepted: Sequence[int]
    """So many frames each gate accepts."""
    rejected: Sequence[int]


class Judge:
    """The gates of one edition that can be applied to a model. Does not change, so threads may share it."""

    def __init__(
        self, known: Known, edition: int = 0, gates: Sequence[Gate] = (), strange: Mapping[str, str] | None = None
    ) -> None:
        """``strange``: gates that are not understood, and why."""
        lacking = {gate.name: known.lacks(gate) for gate in gates}
        fitting = [gate for gate in gates if not lacking[gate.name]]
        self.gates = tuple(fitting[:MOST_GATES])
        self.known = known
        self._tests = [_Test(gate.rule, known.classes) for gate in self.gates]
        not_applied = {name: why for name, why in lacking.items() if why} | dict(strange or {})
        not_applied |= {gate.name: f"{MOST_GATES} others are applied already" for gate in fitting[MOST_GATES:]}
        names = tuple(gate.name for gate in self.gates)
        self.said = GateList(edition=edition, names=names, not_applied=not_applied)

    def __call__(self, findings: Findings, model: str, clock: Callable[[], int]) -> Judged:
        """What is decided of all of them; of those that are not sound, and of frames that another model than was meant
        has seen, nothing. ``clock`` gives ns."""
        begun, count = clock(), len(findings.labels)
        rows = np.zeros(count, ROW)
        rows["edition"] = self.said.edition
        rows["x"] = rows["y"] = np.nan
        meant = model == self.known.model
        if meant and self.known.places and findings.places is not None:
            rows["x"], rows["y"] = np.asarray(findings.places(), np.float32).T
        accepted = np.zeros((len(self._tests), count), np.bool_)
        sound = findings.sound if meant else np.zeros(count, np.bool_)
        if self._tests and meant:
            accepted = self._accepted(findings, rows["x"].astype(np.float64), rows["y"].astype(np.float64))
        rejected = ~accepted & sound
        accepted &= sound
        rows["accepting"], rows["rejecting"] = _bits(accepted), _bits(rejected)
        done = clock()
        rows["at"] = np.where(sound, done if self._tests else 0, 0)
        decisions = np.where(
            rejected.any(axis=0), Decision.REJECT, np.where(accepted.any(axis=0), Decision.ACCEPT, Decision.NONE)
        )
        counts = accepted.sum(axis=1).tolist(), rejected.sum(axis=1).tolist()
        return Judged(self.said.edition, begun, done, rows.tobytes(), decisions.tolist(), *counts)

    def _accepted(self, findings: Findings, x: NDArray[np.float64], y: NDArray[np.float64]) -> Mask:
        columns: dict[str, NDArray[np.float64]] = {}

        def column(name: str) -> NDArray[np.float64]:
            if name not in columns:
                made = findings.probabilities if name == PROBABILITY else findings.features[name]()
                columns[name] = np.asarray(made, np.float64)
            return columns[name]

        return np.stack([test(findings.labels, x, y, column) for test in self._tests])


class _Test:
    """One rule, made ready for arrays."""

    def __init__(self, rule: Rule, classes: Sequence[str]) -> None:
        self._bounds, self._accepts = rule.bounds, rule.action is Action.ACCEPT
        self._labels = np.array([number for number, name in enumerate(classes) if name in rule.classes], np.int64)
        self._any_class = not rule.classes
        self._polygon = Polygon(rule.polygon) if rule.polygon else None

    def __call__(
        self,
        labels: NDArray[Any],
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        column: Callable[[str], NDArray[np.float64]],
    ) -> Mask:
        """Which are accepted."""
        tests: list[Mask] = [] if self._any_class else [(labels[:, None] == self._labels).any(axis=1)]
        tests += [holds(bound, column(bound.feature)) for bound in self._bounds]
        if self._polygon is not None:
            tests.append(self._polygon(x, y))
        within = reduce(np.logical_and, tests)
        return within if self._accepts else ~within


class Polygon:
    """``contracts.gates.inside`` for many points at once, by the very same operations in float64."""

    def __init__(self, corners: Sequence[tuple[float, float]]) -> None:
        here = np.asarray(corners, np.float64).reshape(-1, 2)
        before = np.roll(here, 1, axis=0)
        sloping = here[:, 1] != before[:, 1]  # a ray to the right never crosses the others
        (self._x, self._y), (self._from_x, self._from_y) = here[sloping].T, before[sloping].T
        self._along, self._up = self._from_x - self._x, self._from_y - self._y

    def __call__(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> Mask:
        """Which of the points (N), (N) lie within. Those with NaN do not."""
        x, y = x[:, None], y[:, None]
        astride = (self._y > y) != (self._from_y > y)
        with np.errstate(invalid="ignore", over="ignore"):
            crossing = self._along * (y - self._y) / self._up + self._x
            found: Mask = np.logical_xor.reduce(astride & (x < crossing), axis=1)
        return found


def holds(bound: Bound, values: NDArray[np.float64]) -> Mask:
    """``Bound.holds`` for many values."""
    found: Mask = np.isfinite(values)
    if bound.least is not None:
        found &= values >= bound.least
    if bound.most is not None:
        found &= values <= bound.most
    return found


def _bits(said: Mask) -> NDArray[np.uint64]:
    """From (gates, N) to a number each, the first gate the lowest bit."""
    weights = np.uint64(1) << np.arange(len(said), dtype=np.uint64)
    found: NDArray[np.uint64] = (said.T * weights).sum(axis=1, dtype=np.uint64)
    return found
