"""What is asked of the cell index, and what it answers."""

from pydantic import Field, model_validator

from gateway.asked import Body
from gateway.cells.rules import LONGEST

MODEL = r"^[\w][\w ./:+@-]{0,99}$"
INT64 = 2**63 - 1
MOST_CELLS = 10_000
"""That are added at once."""
MOST_FOUND = 1000
MOST_IDS = 100_000


class NewCell(Body):
    """A cell of an image. ``number`` is its label there, ``x`` and ``y`` its centre in pixels."""

    number: int = Field(ge=0, lt=2**31)
    vector: list[float] = Field(default=[], max_length=LONGEST)
    class_: str = Field(default="", max_length=100, alias="Class", pattern=r"^[^\x00-\x1f]*$")
    x: float = Field(default=0.0, ge=-1e9, le=1e9, allow_inf_nan=False)
    y: float = Field(default=0.0, ge=-1e9, le=1e9, allow_inf_nan=False)


class NewCells(Body):
    """Body of ``POST /api/v1/cells``. ``model`` is the version of what made the vectors; ``vectors`` holds those of all
    cells in base64 (float32, lowest byte first) instead of each cell's ``vector``. Empty ``instrument`` and ``at``
    (ns since the epoch): as the job says it, now."""

    model: str = Field(pattern=MODEL)
    job: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")
    instrument: str = Field(default="", max_length=200, pattern=r"^[^\x00-\x1f]*$")
    at: int = Field(default=0, ge=0, le=INT64)
    cells: list[NewCell] = Field(min_length=1, max_length=MOST_CELLS)
    vectors: str = Field(default="", max_length=4 * MOST_CELLS * LONGEST * 4 // 3)

    @model_validator(mode="after")
    def _numbered_once(self) -> "NewCells":
        if len({cell.number for cell in self.cells}) != len(self.cells):
            raise ValueError("two cells have the same Number: it is the cell's label in the image")
        return self


class Added(Body):
    """The ids of cells, in the order in which they came."""

    ids: list[int]


class Cell(Body):
    """A cell that is kept."""

    id: int
    job: str
    number: int
    model: str
    instrument: str
    at: int
    class_: str = Field(alias="Class")
    x: float
    y: float


class Near(Cell):
    """A cell that was looked for. ``score`` is the cosine similarity: 1 for the same vector."""

    score: float


class Similar(Body):
    """What was found, the nearest first. ``model`` is the version whose vectors were compared; where it is not that of
    what was looked for, ``through`` says what brought it there, and ``recall`` how often that finds the right one."""

    model: str
    cells: list[Near]
    through: str = ""
    recall: float | None = None


class Unwanted(Body):
    """Body of ``POST /api/v1/cells/delete``: cells by their ids, or all of a job (of one model, if that is named)."""

    ids: list[int] = Field(default=[], max_length=MOST_IDS)
    job: str = Field(default="", max_length=200, pattern=r"^[^\x00-\x1f]*$")
    model: str = Field(default="", max_length=100)

    @model_validator(mode="after")
    def _one_of_both(self) -> "Unwanted":
        if bool(self.ids) == bool(self.job) or any(not 0 <= one <= INT64 for one in self.ids):
            raise ValueError("name Ids, whole numbers from 0, or a Job, and not both")
        return self


class Deleted(Body):
    """How many cells were there and are no more."""

    deleted: int
