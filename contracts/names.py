"""Attributes from file names: AiCSD's parser rules, and patterns with named groups."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from contracts.patterns import LONGEST_TEXT, BadPattern, compiled

DataType = Literal["bool", "int", "string"]

_COMPOSED = {"bool": "[^a-z]{}[^a-z]", "int": r"{}\d+", "string": r"{}\W[a-z]+"}
_GO_FLAGS = re.compile(r"\(\?([ims]+)\)")
_DIGITS = re.compile(r"\d+", re.ASCII)
_WORD = re.compile(r"\W[a-z]+", re.ASCII)
_WELL = re.compile(r"([A-Za-z]{1,2})(\d{1,3})", re.ASCII)
_COUNTED = ("row", "column", "field", "channel", "z", "t", "well")
LAST_ROW = 26 * 27


class BadRule(ValueError):
    """A rule for file names that cannot be used; the text names the attribute and the remedy."""


class Rule(Protocol):
    """Anything that reads attributes off a file name or a relative path."""

    def attributes(self, name: str) -> dict[str, str]:
        """What the rule finds; empty when nothing. Never raises."""
        ...


@dataclass(frozen=True)
class AttributeRule:
    """One ``[AttributeParser.<name>]`` entry of AiCSD. Raises ``BadRule`` when it can never work."""

    name: str
    id: str
    data_type: DataType

    def __post_init__(self) -> None:
        if self.data_type not in _COMPOSED:
            raise BadRule(f"invalid data type for attribute {self.name}: use bool, int or string")
        self._pattern()

    def attributes(self, name: str) -> dict[str, str]:
        """The attribute as text; absent when an int or a string is not in the last part of the name."""
        value = self._value(_last(name))
        return {} if value is None else {self.name: value}

    def _value(self, name: str) -> str | None:
        if self.data_type == "bool":
            return "true" if self._pattern().search("-" + name) else "false"
        found = self._pattern().search(name)
        if found is None:
            return None
        if self.data_type == "int":
            digits = _DIGITS.search(found.group())
            return digits and _number(digits.group())
        word = _WORD.search(found.group())
        return word and word.group()[1:]

    def _pattern(self) -> re.Pattern[str]:
        """The composed expression; Go's flags at the start of the id hold for all that follows."""
        flags = _GO_FLAGS.match(self.id)
        body = self.id[flags.end() :] if flags else self.id
        before, after = _COMPOSED[self.data_type].split("{}")
        text = f"{before}(?{flags[1]}:{body}{after})" if flags else before + body + after
        try:
            return compiled(text)
        except BadPattern as error:
            raise BadRule(f"invalid id {self.id!r} for attribute {self.name}: {error}") from None


@dataclass(frozen=True)
class PatternRule:
    """A regular expression whose named groups are attributes, e.g. ``(?P<well>[A-P][0-9]{2})``.

    It is searched in the file name, or with ``on="path"`` in the relative path (folders parted by ``/``).
    Groups with one of our words (plate, well, row, column, field, channel, z, t) are normalised.
    Raises ``BadRule`` when it can never work.
    """

    name: str
    pattern: str
    on: Literal["name", "path"] = "name"

    def __post_init__(self) -> None:
        try:
            groups = compiled(self.pattern).groupindex
        except BadPattern as error:
            raise BadRule(f"invalid pattern for {self.name}: {error}") from None
        if not groups:
            raise BadRule(f"the pattern for {self.name} has no named group: write e.g. (?P<plate>[^_]+)")
        if self.on not in ("name", "path"):
            raise BadRule(f"the pattern for {self.name} is for a {self.on!r}: use name or path")

    def attributes(self, name: str) -> dict[str, str]:
        """The groups that matched something, normalised; empty when the pattern is not found."""
        text = _last(name) if self.on == "name" else name[-LONGEST_TEXT:]
        found = compiled(self.pattern).search(text)
        return {} if found is None else normalised({k: v for k, v in found.groupdict().items() if v})


@dataclass(frozen=True)
class FirstOf:
    """Alternatives: the first rule that finds anything speaks, the others are silent."""

    rules: Sequence[Rule]

    def attributes(self, name: str) -> dict[str, str]:
        """What the first rule that knows the name has found."""
        return next((found for rule in self.rules if (found := rule.attributes(name))), {})


def parse(name: str, rules: Iterable[AttributeRule]) -> dict[str, str]:
    """What AiCSD's attribute parser finds in a file name."""
    return attributes_of(name, rules)


def attributes_of(name: str, rules: Iterable[Rule]) -> dict[str, str]:
    """All that the rules find in a file name or relative path; where two disagree the earlier wins.

    Never raises, whatever the name. Only the last 512 characters of a name are looked at.
    """
    attributes: dict[str, str] = {}
    for rule in rules:
        attributes = rule.attributes(name) | attributes
    return attributes


def normalised(found: dict[str, str]) -> dict[str, str]:
    """The same attributes in our spelling: numbers without leading zeros, wells like ``A01``.

    ``row`` and ``column`` are numbers from 1 and ``well`` is their name; each is derived from the other.
    A well that the instrument only counts stays a number: without the plate's size it has no name.
    """
    tidy = found | {k: _number(found[k]) for k in _COUNTED if _DIGITS.fullmatch(found.get(k, ""))}
    if tidy.get("row", "").isalpha():
        tidy["row"] = _row_number(tidy["row"]) or tidy["row"]
    well = _WELL.fullmatch(tidy.get("well", ""))
    if well:
        row, column = _row_number(well[1]), _number(well[2])
        return tidy | {"well": well_name(row, column), "row": row, "column": column}
    if "well" not in tidy and (name := well_name(tidy.get("row", ""), tidy.get("column", ""))):
        tidy["well"] = name
    return tidy


def well_name(row: str, column: str) -> str:
    """``A01`` for row 1, column 1; ``AA01`` for row 27; empty when the numbers name no well."""
    numbers = _DIGITS.fullmatch(row[:4]) and _DIGITS.fullmatch(column[:4])
    if not numbers or not 1 <= int(row) <= LAST_ROW or not 1 <= int(column) <= 999:
        return ""
    tens, ones = divmod(int(row) - 1, 26)
    return (chr(64 + tens) if tens else "") + chr(65 + ones) + f"{int(column):02d}"


def _row_number(letters: str) -> str:
    """``1`` for A, ``27`` for AA; empty for what is no row."""
    if not re.fullmatch("[A-Za-z]{1,2}", letters):
        return ""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - 64
    return str(number)


def _number(digits: str) -> str:
    return digits.lstrip("0") or "0"


def _last(path: str) -> str:
    """The file name, cut to the length that is looked at."""
    return path.rpartition("/")[2][-LONGEST_TEXT:]
