"""Gates: which cells are sorted out, as a pure function of what is known of a cell. Whoever sees cells may ask it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import isfinite
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MOST_CORNERS = 500
FAR = 1e6
"""Places on a map lie within this distance of its middle along each axis."""
Coordinate = Annotated[float, Field(ge=-FAR, le=FAR, allow_inf_nan=False)]
Corner = tuple[Coordinate, Coordinate]
CHANGED = "cytobus/gates"
"""Topic of the bus on which it is announced that gates were made or deleted."""


class Action(StrEnum):
    """What becomes of the cells within a gate; the others get the opposite."""

    ACCEPT = "accept"
    REJECT = "reject"


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=lambda name: name.title().replace("_", ""))


class Bound(_Said):
    """A feature that must lie between two values, these included; one that is missing or no number does not."""

    feature: str = Field(min_length=1, max_length=100)
    least: float | None = Field(default=None, allow_inf_nan=False)
    most: float | None = Field(default=None, allow_inf_nan=False)

    def holds(self, value: float) -> bool:
        """Whether a value lies within. NaN does not."""
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and isfinite(value)
        )


class Rule(_Said):
    """Which cells lie within: those of which all that is said here is true.

    ``polygon`` is a line around a part of the map of the model ``model`` (empty: of any); its last corner is joined to
    the first, and where it crosses itself the even-odd rule holds. What is empty does not narrow.
    """

    model: str = Field(default="", max_length=100)
    polygon: tuple[Corner, ...] = Field(default=(), max_length=MOST_CORNERS)
    classes: tuple[str, ...] = Field(default=(), max_length=100)
    bounds: tuple[Bound, ...] = Field(default=(), max_length=20)
    action: Action = Action.ACCEPT

    @field_validator("polygon")
    @classmethod
    def _has_an_inside(cls, corners: tuple[Corner, ...]) -> tuple[Corner, ...]:
        if 0 < len(corners) < 3:
            raise ValueError("a polygon has three corners at least")
        return corners

    @model_validator(mode="after")
    def _says_something(self) -> "Rule":
        if not (self.polygon or self.classes or self.bounds):
            raise ValueError("name a Polygon, Classes or Bounds: a gate around everything sorts nothing")
        return self


class Gate(BaseModel):
    """A rule under a name, as those are told of it who apply it."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=lambda name: name.title())

    id: str
    name: str
    rule: Rule
    map: int = 0
    """The version of the map by which it goes; 0: that which came with the model, or none."""


def inside(x: float, y: float, polygon: Sequence[tuple[float, float]]) -> bool:
    """Whether a point lies in a polygon (even-odd rule, by crossings of a ray to the right: Shimrat 1962). A cell
    without a place (NaN) does not; of points on an edge some do, so that of two polygons that share it one has them."""
    found = False
    before_x, before_y = polygon[-1] if polygon else (0.0, 0.0)
    for corner_x, corner_y in polygon:
        if (corner_y > y) != (before_y > y):
            crossing = (before_x - corner_x) * (y - corner_y) / (before_y - corner_y) + corner_x
            found ^= x < crossing
        before_x, before_y = corner_x, corner_y
    return found


def decide(rule: Rule, model: str, x: float, y: float, class_: str, features: Mapping[str, float]) -> Action | None:
    """What is to be done with a cell; None where the gate belongs to the map of another model, and so says nothing."""
    if rule.model and rule.model != model:
        return None
    within = (
        (not rule.classes or class_ in rule.classes)
        and all(one.feature in features and one.holds(features[one.feature]) for one in rule.bounds)
        and (not rule.polygon or inside(x, y, rule.polygon))
    )
    other = Action.REJECT if rule.action is Action.ACCEPT else Action.ACCEPT
    return rule.action if within else other
