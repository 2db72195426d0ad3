"""Which jobs a task wants: JSONLogic rules, checked when they are written and harmless when they fail."""

import json
from collections.abc import Mapping
from functools import lru_cache

from contracts.operators import ARGUMENTS, LISTS, SelectorFailed, evaluate
from contracts.patterns import BadPattern, compiled

__all__ = ["BadSelector", "SelectorFailed", "check", "explain", "matches"]

LONGEST = 16_384
DEEPEST = 64
LONGEST_SHOWN = 80
MOST_NAMED = 4
"""Conditions that an explanation names at most."""

_FILE = {"DirName": "/data/input/", "Name": "plate7_A01.tiff", "Extension": ".tiff"}
_NO_ERROR = {"Owner": "", "Error": ""}
TYPICAL_JOB: Mapping[str, object] = {
    "Id": "5f0c7a1e-1f0f-4a7f-9a7e-2f6f0c9b7d03",
    "Owner": "data-organizer",
    "InputFile": {
        **_FILE,
        "Hostname": "oem",
        "ArchiveName": "",
        "Viewable": "",
        "Attributes": {"LabName": "lab", "LabEquipment": "scope", "Operator": "", "plate": "plate7", "row": "1"},
    },
    "PipelineDetails": {
        "TaskId": "",
        "Status": "",
        "QCFlags": "",
        "OutputFileHost": "",
        "OutputFiles": None,
        "Results": "",
    },
    "LastUpdated": 1795212693520638770,
    "Status": "Incomplete",
    "ErrorDetails": _NO_ERROR,
    "Verification": 0,
}
"""What a check tries a rule on."""


class BadSelector(ValueError):
    """A rule that must not be stored; the text names the operator or field and the remedy."""


def check(text: str) -> None:
    """Accept a rule that can be evaluated and that answers true or false (or 1 or 0) for a typical job.

    Raises ``BadSelector``. A rule that only fails on the typical job, say by dividing by zero, is accepted:
    with other jobs it may well answer.
    """
    rule = _parsed(text)
    try:
        _truth(evaluate(_counted(rule), TYPICAL_JOB))
    except _NotBoolean as error:
        raise BadSelector(f"{error}: compare it with == or wrap it in {{'!!': [...]}}") from None
    except SelectorFailed:
        return


def matches(text: str, job: Mapping[str, object]) -> bool:
    """Whether the task wants the job (as AiCSD's job JSON). Fields the job lacks are null and never an error.

    Raises ``SelectorFailed`` for a rule that cannot answer for this job; only this task is to be skipped.
    """
    try:
        return _truth(evaluate(_ready(text), job))
    except BadSelector as error:
        raise SelectorFailed(str(error)) from None


def explain(text: str, job: Mapping[str, object]) -> str:
    """Why the rule wants the job or not: the conditions that decided, however deep in it, with the values found. Never
    raises."""
    try:
        rule = _parsed(text)
        wanted = matches(text, job)
        return _reason(rule, job, wanted)
    except (BadSelector, SelectorFailed) as error:
        return f"Cannot be evaluated: {error}."


class _NotBoolean(SelectorFailed):
    """The rule's answer is neither true nor false."""


def _truth(value: object) -> bool:
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise _NotBoolean(f"the rule answers {_shown(value)}, not true or false")


@lru_cache(maxsize=1024)
def _ready(text: str) -> object:
    return _counted(_parsed(text))


@lru_cache(maxsize=1024)
def _parsed(text: str) -> object:
    """The rule, known to be well-formed. Raises ``BadSelector``."""
    if len(text) > LONGEST:
        raise BadSelector(f"the rule is longer than {LONGEST} characters: split it into several tasks")
    try:
        rule: object = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        if error.msg.startswith("Extra data"):
            raise BadSelector(f"there is text after the rule, at character {error.pos}: remove it") from None
        raise BadSelector(f"the rule is not JSON ({error}): correct it") from None
    except RecursionError:
        raise BadSelector(f"the rule is nested deeper than {DEEPEST}: flatten it") from None
    except ValueError as error:
        raise BadSelector(f"the rule has a number that is none ({error}): correct it") from None
    _check_rule(rule, DEEPEST)
    return rule


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def _check_rule(rule: object, depth: int) -> None:
    if depth == 0:
        raise BadSelector(f"the rule is nested deeper than {DEEPEST}: flatten it")
    if isinstance(rule, list):
        for item in rule:
            _check_rule(item, depth - 1)
    elif isinstance(rule, dict):
        if len(rule) != 1:
            raise BadSelector(f"{_shown(rule)} has {len(rule)} keys: an operation is an object with one operator")
        operator, _ = next(iter(rule.items()))
        arguments = arguments_of(rule)
        _check_operation(operator, arguments)
        _check_rule(arguments, depth - 1)


def arguments_of(rule: Mapping[str, object]) -> list[object]:
    """The arguments of an operation; a single one may stand without brackets."""
    arguments = next(iter(rule.values()))
    return arguments if isinstance(arguments, list) else [arguments]


def _check_operation(operator: str, arguments: list[object]) -> None:
    if operator not in ARGUMENTS:
        raise BadSelector(f"there is no operator {_shown(operator)}: use one of {' '.join(ARGUMENTS)}")
    least, most = ARGUMENTS[operator]
    if not least <= len(arguments) <= most:
        wanted = str(least) if least == most else f"{least} to {most}" if most < 1000 else f"at least {least}"
        raise BadSelector(f"{operator!r} takes {wanted} arguments and has {len(arguments)}: correct the rule")
    if operator == "matches":
        _check_pattern(arguments[1])


def _check_pattern(pattern: object) -> None:
    if not isinstance(pattern, str):
        raise BadSelector(f"'matches' needs its pattern as a text, not {_shown(pattern)}: write it out")
    try:
        compiled(pattern)
    except BadPattern as error:
        raise BadSelector(f"'matches': {error}") from None


def _counted(rule: object) -> object:
    """The same rule with every loop telling how much work it is about to do."""
    if isinstance(rule, list):
        return [_counted(item) for item in rule]
    if not isinstance(rule, dict):
        return rule
    operator = next(iter(rule))
    arguments = [_counted(argument) for argument in arguments_of(rule)]
    if operator in LISTS:
        arguments[0] = {"#loop": [arguments[0], _size(arguments[1:])]}
    return {operator: arguments}


def _size(rule: object) -> int:
    if isinstance(rule, dict):
        return 1 + sum(_size(value) for value in rule.values())
    if isinstance(rule, list):
        return 1 + sum(_size(item) for item in rule)
    return 1


def _reason(rule: object, job: Mapping[str, object], wanted: bool) -> str:
    verdict = "Matches" if wanted else "Does not match"
    operator = next(iter(rule)) if isinstance(rule, dict) else ""
    conditions = _decisive(rule, job)
    named = "; ".join(_stated(one, job) for one in conditions[:MOST_NAMED])
    if isinstance(rule, dict) and operator in ("and", "or") and wanted == (operator == "and"):
        branches = len(arguments_of(rule))
        every = f"all conditions hold ({branches})" if wanted else f"no alternative holds ({branches})"
        named = f"{every}: {named}"
    more = f"; and {len(conditions) - MOST_NAMED} more" if len(conditions) > MOST_NAMED else ""
    return f"{verdict}: {named}{more}."


def _decisive(rule: object, job: Mapping[str, object]) -> list[object]:
    """The conditions below and, or and not by which a rule comes to its answer: the first that is enough, or all."""
    operator = next(iter(rule)) if isinstance(rule, dict) else ""
    if not isinstance(rule, dict) or operator not in ("and", "or", "!"):
        return [rule]
    branches = arguments_of(rule)
    if operator == "!":
        return _decisive(branches[0], job)
    enough = next((one for one in branches if _holds(one, job) == (operator == "or")), None)
    if enough is not None:
        return _decisive(enough, job)
    return [each for one in branches for each in _decisive(one, job)]


def _holds(rule: object, job: Mapping[str, object]) -> bool:
    return evaluate({"!!": [_counted(rule)]}, job) is True


def _stated(rule: object, job: Mapping[str, object]) -> str:
    """The rule, its answer, and what its variables are."""
    values = [f"{name} is {_shown(evaluate({'var': [name]}, job))}" for name in _variables(rule)]
    given = ", where " + " and ".join(values) if values else ""
    return f"{_shown(rule)} is {_shown(evaluate(_counted(rule), job))}{given}"


def _variables(rule: object) -> list[str]:
    """The names of the job's fields in a rule, each once; those inside loops are the items' and left out."""
    if isinstance(rule, list):
        return list(dict.fromkeys(name for item in rule for name in _variables(item)))
    if not isinstance(rule, dict):
        return []
    operator, arguments = next(iter(rule)), arguments_of(rule)
    if operator == "var" and arguments and isinstance(arguments[0], str):
        return [arguments[0]]
    return _variables(arguments[:1] if operator in LISTS else arguments)


def _shown(value: object) -> str:
    """A value as short JSON; ``missing`` for null."""
    if value is None:
        return "missing (null)"
    text = json.dumps(value, ensure_ascii=False, default=str, skipkeys=True)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
