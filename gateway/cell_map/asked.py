"""What a query string asks of the map."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from starlette.datastructures import QueryParams

from contracts.errors import BadRequest
from gateway.cell_map.points import PLAIN, Wanted
from gateway.cell_map.said import INT53, INT64, MOST_LISTED

LONGEST = 10.0
"""Seconds that an answer is waited for at most."""
MOST = 100_000
"""Cells of one answer."""
MOST_CROPS = 500
LISTED = {"model": "models", "instrument": "instruments", "class": "classes"}


class Chunk(BaseModel):
    """Which cells are asked for, and what of each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fields: tuple[str, ...] = Field(default=tuple(PLAIN), min_length=1, max_length=20)
    after: int = Field(default=0, ge=0, le=INT64)
    wait: float = Field(default=0.0, ge=0, le=LONGEST, allow_inf_nan=False)
    limit: int = Field(default=MOST, ge=1, le=MOST)
    since: int | None = Field(default=None, ge=0, le=INT64)
    until: int | None = Field(default=None, ge=0, le=INT64)
    models: tuple[str, ...] = Field(default=(), max_length=MOST_LISTED)
    instruments: tuple[str, ...] = Field(default=(), max_length=MOST_LISTED)
    classes: tuple[str, ...] = Field(default=(), max_length=MOST_LISTED)

    @field_validator("fields")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(names))

    def wanted(self) -> Wanted:
        """As the points understand it."""
        return Wanted(self.models, self.instruments, self.classes, self.since, self.until)


def chunk_of(params: QueryParams) -> Chunk:
    """Raises ``BadRequest`` naming the parameter that is wrong."""
    plain = [name for name in Chunk.model_fields if name not in (*LISTED.values(), "fields")]
    if unknown := set(params) - {*LISTED, *plain, "fields"}:
        there = ", ".join((*LISTED, *plain, "fields"))
        raise BadRequest(f"query parameter {min(unknown)[:40]!r} is not known: there are {there}")
    said: dict[str, object] = {name: params[name] for name in plain if name in params}
    said |= {field: tuple(params.getlist(name)) for name, field in LISTED.items() if name in params}
    if params.get("fields"):
        said["fields"] = tuple(params["fields"].split(","))
    try:
        return Chunk.model_validate(said, strict=False)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise BadRequest(f"query parameter {problem['loc'][0]}: {problem['msg'].lower()}") from None


def ids_in(params: Mapping[str, str]) -> list[int]:
    """``ids``, with commas between them. Raises ``BadRequest``."""
    try:
        found = [int(one) for one in params.get("ids", "").split(",") if len(one) <= 16]
    except ValueError:
        found = []
    if not 0 < len(found) <= MOST_CROPS or any(not 0 <= one <= INT53 for one in found):
        raise BadRequest(f"ids must be 1 to {MOST_CROPS} ids of cells with commas between them")
    return found


def whole(params: Mapping[str, str], name: str, otherwise: int, most: int) -> int:
    """A number from 0. Raises ``BadRequest``."""
    said = params.get(name, str(otherwise))
    if not (said.isascii() and said.isdigit() and len(said) < 20 and int(said) <= most):
        raise BadRequest(f"{name} is {said[:40]!r}; it must be a whole number from 0 to {most}")
    return int(said)
