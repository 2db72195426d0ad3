"""What is asked of the map of cells, and what it answers."""

from typing import Literal

from pydantic import Field, model_validator

from contracts.gates import MOST_CORNERS, Corner, Rule
from gateway.asked import Body
from gateway.cell_map.points import Wanted

INT53 = 2**53 - 1
INT64 = 2**63 - 1
MOST_IDS = 200_000
MOST_LISTED = 100
NAME = r"^[^\x00-\x1f]*\S[^\x00-\x1f]*$"


class Selection(Body):
    """Cells: those of a list, or those within a line, or all; of these those that the other fields leave."""

    ids: tuple[int, ...] = Field(default=(), max_length=MOST_IDS)
    polygon: tuple[Corner, ...] = Field(default=(), max_length=MOST_CORNERS)
    models: tuple[str, ...] = Field(default=(), max_length=MOST_LISTED)
    instruments: tuple[str, ...] = Field(default=(), max_length=MOST_LISTED)
    classes: tuple[str, ...] = Field(default=(), max_length=MOST_LISTED)
    since: int | None = Field(default=None, ge=0, le=INT64)
    until: int | None = Field(default=None, ge=0, le=INT64)

    @model_validator(mode="after")
    def _has_an_inside(self) -> "Selection":
        if 0 < len(self.polygon) < 3:
            raise ValueError("a Polygon has three corners at least")
        if any(not 0 <= one <= INT53 for one in self.ids):
            raise ValueError("Ids are whole numbers from 0")
        return self

    def wanted(self) -> Wanted:
        """As the points understand it."""
        return Wanted(self.models, self.instruments, self.classes, self.since, self.until, self.ids, self.polygon)


class AskedSelection(Body):
    """Body of ``POST /api/v1/map/selection``. ``feature``: whose histogram is wanted; ``sample``: of so many cells, at
    most, the ids are told, spread over the selection."""

    selection: Selection = Selection()
    feature: str = Field(default="", max_length=100)
    sample: int = Field(default=120, ge=0, le=1000)


class Bars(Body):
    """A histogram: bars of equal width from ``low`` to ``high``; those at the ends hold what lies beyond, up to
    ``least`` and ``most``."""

    feature: str
    known: int
    least: float
    most: float
    low: float
    high: float
    mean: float
    median: float
    bars: list[int]


class Selected(Body):
    """What is selected, in figures."""

    count: int
    classes: dict[str, int]
    instruments: dict[str, int]
    models: dict[str, int]
    ids: list[int]
    histogram: Bars | None = None


class Export(Body):
    """Body of ``POST /api/v1/map/export``."""

    selection: Selection = Selection()
    format: Literal["csv", "parquet"] = "csv"


class NewGroup(Body):
    """Body of ``POST /api/v1/map/groups``: a name for what is selected now. A group of that name is replaced."""

    name: str = Field(min_length=1, max_length=100, pattern=NAME)
    selection: Selection


class Group(Body):
    """Cells under a name, which is their label in a training set."""

    id: str
    name: str
    by: str
    at: int
    count: int


class NewGate(Body):
    """Body of ``POST /api/v1/map/gates``. A gate of that name is replaced; what it had decided goes with it."""

    name: str = Field(min_length=1, max_length=100, pattern=NAME)
    rule: Rule


class Gate(Body):
    """A rule that is applied to every cell that comes. ``microseconds`` is what a cell took on average; ``map``: the
    version of the map by which it goes, 0: that which came with the model, or none."""

    id: str
    name: str
    by: str
    at: int
    rule: Rule
    accepted: int = 0
    rejected: int = 0
    microseconds: float = 0.0
    map: int = 0


class Decision(Body):
    """What a gate has decided about the cells of a job. ``rejected_cells`` are their labels in the image; ``at`` is
    when (ns), ``nanoseconds`` how long all of it took."""

    job: str
    sequence: int
    at: int
    accepted: int
    rejected: int
    nanoseconds: int
    rejected_cells: list[int]


class Trouble(Body):
    """A job whose table could not be put on the map, and why."""

    job: str
    why: str


class OffMap(Body):
    """Of the last ``seen`` cells of a model ``far`` lie off its map; ``drifted``: more than chance explains.
    ``why`` there is no new map, or what is done."""

    model: str
    far: int
    seen: int
    drifted: bool
    why: str


class About(Body):
    """What is on the map."""

    count: int
    last: int
    """The sequence of the newest job's cells."""
    classes: list[str]
    instruments: list[str]
    models: list[str]
    features: list[str]
    troubles: list[Trouble]
    loading: bool
    """It is still being read from the database."""
    drift: list[OffMap]
    maps: dict[str, int]
    """The version of the map by which the cells of each model lie, where one was fitted anew; where this changes, all
    places have."""
