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
WORDS = {"==": "=", "===": "=", "!=": "≠", "!==": "≠", ">": ">", ">=": "≥", "<": "<", "<=": "≤"}
SPOKEN = {"matches": "rule.matches", "starts_with": "rule.starts", "ends_with": "rule.ends"}
JOINS = {"and": "rule.and", "or": "rule.or"}


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


def line(task: Mapping[str, Any], alive: Set[str], say: Callable[[str], str]) -> Line:
    """``alive``: the pipelines that are registered."""
    parameters = task.get("ModelParameters") or {}
    return Line(
        str(task["Id"]),
        str(task["Description"]),
        str(task["PipelineId"]),
        task["PipelineId"] in alive,
        told(str(task["JobSelector"]), say),
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


def told(rule: str, say: Callable[[str], str]) -> str:
    """A rule in a line that people can read; JSON where it is none of the usual."""
    try:
        return _told(json.loads(rule), say)
    except (ValueError, TypeError, RecursionError):
        return rule


def _told(rule: Any, say: Callable[[str], str]) -> str:
    if not isinstance(rule, dict) or len(rule) != 1:
        return _value(rule)
    ((operator, said),) = rule.items()
    arguments = said if isinstance(said, list) else [said]
    if operator in JOINS:
        parts = [f"({_told(one, say)})" if _joins(one) else _told(one, say) for one in arguments]
        return f" {say(JOINS[operator])} ".join(parts)
    if operator == "!" and len(arguments) == 1:
        return f"{say('rule.not')} ({_told(arguments[0], say)})"
    if operator == "var":
        return str(arguments[0]).removeprefix("InputFile.").removeprefix("Attributes.") if arguments else "all"
    if len(arguments) == 2:
        return _compared(operator, arguments[0], arguments[1], say) or json.dumps(rule, ensure_ascii=False)
    return json.dumps(rule, ensure_ascii=False)


def _compared(operator: str, one: Any, other: Any, say: Callable[[str], str]) -> str:
    """'' where there are no words for it."""
    if operator == "in" and isinstance(one, str):
        return f"{_told(other, say)} {say('rule.contains')} {_told(one, say)}"
    if operator == "in":
        return f"{_told(one, say)} {say('rule.one-of')} {_value(other)}"
    if operator in SPOKEN:
        return f"{_told(one, say)} {say(SPOKEN[operator])} {_told(other, say)}"
    return f"{_told(one, say)} {WORDS[operator]} {_told(other, say)}" if operator in WORDS else ""


def _joins(rule: Any) -> bool:
    return isinstance(rule, dict) and next(iter(rule), "") in JOINS


def _value(value: Any) -> str:
    return ", ".join(map(_value, value)) if isinstance(value, list) else json.dumps(value, ensure_ascii=False)
