"""What a query string asks of the cell index."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from starlette.datastructures import QueryParams

from contracts.errors import BadRequest
from gateway.cells.said import INT64, MOST_FOUND

LISTED = {"instrument": "instruments", "job": "jobs", "class": "classes"}
PLAIN = ("cell", "vector", "model", "among", "k", "since", "until")


class Question(BaseModel):
    """Which cells are looked for: like a cell, or like a vector of a model; ``among`` those of another model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: int | None = Field(default=None, ge=0, le=INT64)
    vector: str = ""
    model: str = ""
    among: str = ""
    k: int = Field(default=10, ge=1, le=MOST_FOUND)
    since: int | None = Field(default=None, ge=0, le=INT64)
    until: int | None = Field(default=None, ge=0, le=INT64)
    instruments: tuple[str, ...] = Field(default=(), max_length=100)
    jobs: tuple[str, ...] = Field(default=(), max_length=100)
    classes: tuple[str, ...] = Field(default=(), max_length=100)

    @field_validator("instruments", "jobs", "classes")
    @classmethod
    def _each_once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(values)))


def question_of(params: QueryParams, *, of_image: bool = False) -> Question:
    """Raises ``BadRequest`` naming the parameter that is wrong. ``instrument``, ``job`` and ``class`` may be told
    several times, and mean any of these."""
    unknown = set(params) - {*LISTED, *PLAIN}
    if unknown:
        raise BadRequest(
            f"query parameter {min(unknown)[:40]!r} is not known: there are {', '.join((*LISTED, *PLAIN))}"
        )
    fields: Mapping[str, object] = {name: params[name] for name in PLAIN if name in params}
    lists = {field: tuple(params.getlist(name)) for name, field in LISTED.items() if name in params}
    try:
        asked = Question.model_validate({**fields, **lists}, strict=False)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise BadRequest(f"query parameter {problem['loc'][0]}: {problem['msg'].lower()}") from None
    named = (asked.cell is not None) + bool(asked.vector) + of_image
    if named != 1 or (bool(asked.model) != bool(asked.vector)):
        raise BadRequest(
            "name what is looked for: a cell, or a vector and the model that made it"
            + (" (not beside an image)" if of_image else "")
        )
    return asked
