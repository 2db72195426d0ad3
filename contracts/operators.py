"""The operators of task selectors, on top of the JSONLogic library and bounded in work."""

import math
from collections.abc import Callable, Mapping

from json_logic.apply import apply  # type: ignore[import-untyped]
from json_logic.builtins import BUILTINS, to_number  # type: ignore[import-untyped]

from contracts.patterns import LONGEST_TEXT, compiled

MANY = 10_000
MOST_WORK = 100_000
LONGEST_STRING = 65_536
MOST_ITEMS = 10_000

LISTS = frozenset({"map", "filter", "reduce", "all", "none", "some"})
"""Operators whose first argument is a list that they go through."""

_ANY, _ONE, _TWO = (1, MANY), (1, 1), (2, 2)
ARGUMENTS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("==", "===", "!=", "!=="), _TWO),
    **dict.fromkeys((">", ">=", "<", "<="), (2, 3)),
    **dict.fromkeys(("!", "!!", "abs"), _ONE),
    **dict.fromkeys(("and", "or", "if", "?:", "cat", "+", "*", "max", "min"), _ANY),
    **dict.fromkeys(("in", "in_sorted", "%", "/", "missing_some", "map", "filter", "all", "none", "some"), _TWO),
    **dict.fromkeys(("matches", "starts_with", "ends_with"), _TWO),
    **dict.fromkeys(("merge", "missing"), (0, MANY)),
    "-": (1, 2),
    "substr": (2, 3),
    "var": (0, 2),
    "set": (3, 3),
    "reduce": (2, 3),
}
"""Each operator with the least and the most arguments that it takes."""


class SelectorFailed(Exception):
    """A rule has no answer for a job; only its task is to be skipped."""


Operation = Callable[..., object]


def evaluate(rule: object, job: Mapping[str, object]) -> object:
    """What a well-formed rule answers; the job is not changed. Raises ``SelectorFailed`` and nothing else."""
    work = 0

    def loop(_data: object, items: object, cost: int) -> object:
        nonlocal work
        work += (len(items) if isinstance(items, list) else 0) * cost + 1
        if work > MOST_WORK:
            raise SelectorFailed("the rule's loops take too long: make them shorter")
        return items

    try:
        return _apply(rule, dict(job), OPERATIONS | {"#loop": loop})
    except SelectorFailed:
        raise
    except ZeroDivisionError:
        raise SelectorFailed("the rule divides by zero") from None
    except Exception as error:
        raise SelectorFailed(f"the rule cannot be evaluated for this job ({error})") from None


def _apply(rule: object, data: object, operations: Mapping[str, Operation]) -> object:
    """The library's evaluation, which has no usable types."""
    answer: object = apply(rule, data, operations)
    return answer


def _text(value: object) -> str:
    """A value as JavaScript would write it, but nothing for null; lists only one level deep."""
    if isinstance(value, list):
        return ",".join("" if isinstance(item, list | dict) else _text(item) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.15g}"
    return "" if value is None else "[object Object]" if isinstance(value, dict) else str(value)


def _flat(value: object) -> object:
    return _text(value) if isinstance(value, list | dict) else value


def _bounded(value: object) -> object:
    """The value, if a rule may go on working with it; whole numbers beyond 64 bits become floats."""
    if isinstance(value, str) and len(value) > LONGEST_STRING:
        raise SelectorFailed(f"the rule makes a text of more than {LONGEST_STRING} characters")
    if isinstance(value, list) and len(value) > MOST_ITEMS:
        raise SelectorFailed(f"the rule makes a list of more than {MOST_ITEMS} items")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**63:
        return float(value)
    return value


def _from_library(name: str) -> Operation:
    """An operator of the library, on flat values and with a bounded result."""
    operation: Operation = BUILTINS[name]

    def bounded(data: object, *arguments: object) -> object:
        return _bounded(operation(data, *(_flat(argument) for argument in arguments)))

    return bounded


def _same(a: object, b: object) -> bool:
    """Equal and of one kind; lists and objects never are."""
    if isinstance(a, bool) != isinstance(b, bool) or isinstance(a, list | dict):
        return False
    return a == b


def _equal(data: object, a: object, b: object) -> bool:
    """Loosely equal: 8 and "8" are, null only is to null."""
    if a is None or b is None:
        return a is b
    if isinstance(a, list | dict) and isinstance(b, list | dict):
        return False
    return bool(_LOOSE(data, a, b))


_LOOSE = _from_library("==")


def _in(_data: object, needle: object, haystack: object) -> bool:
    """Part of a text, or one of a list whose items may also be ``[lowest, highest]``; never so for null."""
    if needle is None:
        return False
    if isinstance(haystack, str):
        return _text(needle) in haystack
    if not isinstance(haystack, list):
        return False
    return any(_within(needle, item) if isinstance(item, list) else _same(needle, item) for item in haystack)


def _within(needle: object, limits: list[object]) -> bool:
    if len(limits) != 2:
        return False
    value, low, high = (_number(each) for each in (needle, *limits))
    return low <= value <= high


def _in_sorted(_data: object, needle: object, haystack: object) -> bool:
    """One of a sorted list whose items may also be ``[lowest, highest]``; numbers and texts mix."""
    if needle is None or not isinstance(haystack, list):
        return False
    limits = ((item[0], item[-1]) if isinstance(item, list) and item else (item, item) for item in haystack)
    return any(_between(needle, low, high) for low, high in limits)


def _between(value: object, low: object, high: object) -> bool:
    numbers = tuple(_number(each) for each in (low, value, high))
    if any(math.isnan(number) for number in numbers):
        return _text(low) <= _text(value) <= _text(high)
    return numbers[0] <= numbers[1] <= numbers[2]


def _number(value: object) -> float:
    """A number or a text that is one; NaN for anything else."""
    return float(to_number(value)) if isinstance(value, str | int | float) else math.nan


def _var(data: object, name: object = None, default: object = None) -> object:
    return _VAR(data, name, default)


_VAR: Operation = BUILTINS["var"]


def _missing(data: object, *names: object) -> list[object]:
    """The names that the job has nothing for; an empty text counts as nothing."""
    keys = names[0] if names and isinstance(names[0], list) else names
    return [key for key in map(_flat, keys) if _var(data, key) in (None, "")]


def _missing_some(data: object, needed: object, names: object) -> list[object]:
    missing = _missing(data, names) if isinstance(names, list) else []
    found = len(names) - len(missing) if isinstance(names, list) else 0
    return [] if found >= _number(needed) else missing


def _set(_data: object, target: object, name: object, value: object) -> object:
    """A copy of an object with one field set."""
    return {**target, _text(name): value} if isinstance(target, dict) else target


def _merge(_data: object, *parts: object) -> object:
    return _bounded([item for part in parts for item in (part if isinstance(part, list) else [part])])


def _matches(_data: object, value: object, pattern: str) -> bool:
    """Whether the pattern is found in the text; null has none. Raises ``SelectorFailed`` for long texts."""
    text = _text(value)
    if len(text) > LONGEST_TEXT:
        raise SelectorFailed(f"'matches' looks at no more than {LONGEST_TEXT} characters and got {len(text)}")
    return value is not None and compiled(pattern).search(text) is not None


def _substr(data: object, value: object, *span: object) -> object:
    return _SUBSTR(data, _text(value), *span)


_SUBSTR = _from_library("substr")

OPERATIONS: dict[str, Operation] = {
    **{name: _from_library(name) for name in ("<", ">", "<=", ">=", "+", "-", "*", "/", "%", "min", "max")},
    "!": BUILTINS["!"],
    "!!": BUILTINS["!!"],
    "==": _equal,
    "!=": lambda data, a, b: not _equal(data, a, b),
    "===": lambda _data, a, b: _same(a, b),
    "!==": lambda _data, a, b: not _same(a, b),
    "in": _in,
    "in_sorted": _in_sorted,
    "cat": lambda _data, *parts: _bounded("".join(map(_text, parts))),
    "substr": _substr,
    "abs": lambda _data, value: _bounded(abs(to_number(_flat(value)))),
    "merge": _merge,
    "missing": _missing,
    "missing_some": _missing_some,
    "var": lambda data, name=None, default=None: _var(data, _flat(name), default),
    "set": _set,
    "matches": _matches,
    "starts_with": lambda _d, value, start: value is not None and _text(value).startswith(_text(start)),
    "ends_with": lambda _d, value, end: value is not None and _text(value).endswith(_text(end)),
}
"""What every operator does that the library does not evaluate itself."""
