"""Tasks as lists and forms show them."""

import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

EMPTY: dict[str, Any] = {
    "Id": "",
    "Description": "",
    "JobSelector": "",
    "PipelineId": "",
    "ResultFileFolder": "output",
    "ModelParameters": {},
}
"""A task that is not made yet."""
ATTRIBUTES = ("plate", "well", "row", "column", "field", "channel", "z", "t")
"""Those that names of plate readers say."""
BUILDER = (
    *("any", "all", "not", "remove", "name", "extension", "attribute", "size", "lab", "equipment"),
    *("operator", "hostname", "folder", "other", "contains", "matches", "starts", "ends", "is", "one-of"),
    *("which", "path", "value", "field", "how", "add", "group", "join"),
)
INPUTS = {"int": "number", "float": "number", "bool": "checkbox"}
WORDS = {"==": "=", "===": "=", "!=": "≠", "!==": "≠", ">": ">", ">=": "≥", "<": "<", "<=": "≤", "matches": "~"}


@dataclass(frozen=True)
class Line:
    """A task in the list."""

    id: str
    description: str
    pipeline: str
    alive: bool
    rule: str
    parameters: str
    order: int
    disabled: bool


def line(task: Mapping[str, Any], alive: Set[str]) -> Line:
    """``alive``: the pipelines that are registered."""
    parameters = task.get("ModelParameters") or {}
    return Line(
        str(task["Id"]),
        str(task["Description"]),
        str(task["PipelineId"]),
        task["PipelineId"] in alive,
        told(str(task["JobSelector"])),
        ", ".join(f"{name} = {value}" for name, value in parameters.items()),
        int(task.get("Order", 0)),
        bool(task.get("Disabled")),
    )


def builder_words(say: Callable[[str], str]) -> dict[str, str]:
    """What the builder of rules writes on its fields."""
    return {word: say(f"rule.{word}") for word in BUILDER}


@dataclass(frozen=True)
class Field:
    """A parameter in a form: what it is, what stands there, what it is without."""

    name: str
    kind: str
    input: str
    value: str
    default: str
    description: str


@dataclass(frozen=True)
class Choice:
    """A pipeline that a task may name, with its parameters."""

    topic: str
    name: str
    description: str
    chosen: bool
    fields: tuple[Field, ...]


def pipeline(listed: Mapping[str, Any], task: Mapping[str, Any]) -> Choice:
    """As the form shows it; what the task says goes before what the pipeline does without."""
    said = task.get("ModelParameters") or {}
    fields = [
        Field(
            name,
            str(declared["kind"]),
            INPUTS.get(str(declared["kind"]), "text"),
            str(said.get(name, "")),
            str(declared["default"]),
            str(declared["description"]),
        )
        for name, declared in listed.get("parameters", {}).items()
    ]
    chosen = listed["subscriptionTopic"] == task["PipelineId"]
    return Choice(listed["subscriptionTopic"], listed["name"], listed["description"], chosen, tuple(fields))


def told(rule: str) -> str:
    """A rule in a line that people can read; JSON where it is none of the usual."""
    try:
        return _told(json.loads(rule))
    except (ValueError, TypeError, RecursionError):
        return rule


def _told(rule: Any) -> str:
    if not isinstance(rule, dict) or len(rule) != 1:
        return _value(rule)
    ((operator, said),) = rule.items()
    arguments = said if isinstance(said, list) else [said]
    if operator in ("and", "or"):
        return f" {operator} ".join(f"({_told(one)})" if _joins(one) else _told(one) for one in arguments)
    if operator == "!" and len(arguments) == 1:
        return f"not ({_told(arguments[0])})"
    if operator == "var":
        return str(arguments[0]).removeprefix("InputFile.").removeprefix("Attributes.") if arguments else "all"
    if operator == "in" and len(arguments) == 2:
        one, other = arguments
        if isinstance(one, str):
            return f"{_told(other)} contains {_told(one)}"
        return f"{_told(one)} is one of {_value(other)}"
    if operator in WORDS and len(arguments) == 2:
        return f"{_told(arguments[0])} {WORDS[operator]} {_told(arguments[1])}"
    return json.dumps(rule, ensure_ascii=False)


def _joins(rule: Any) -> bool:
    return isinstance(rule, dict) and next(iter(rule), "") in ("and", "or")


def _value(value: Any) -> str:
    return ", ".join(map(_value, value)) if isinstance(value, list) else json.dumps(value, ensure_ascii=False)
