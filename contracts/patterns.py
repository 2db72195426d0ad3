"""Regular expressions that people write into settings, compiled with care."""

import re
import warnings
from functools import lru_cache

LONGEST_PATTERN = 500
LONGEST_TEXT = 512
"""No file name is longer (the limit is 255 on every common file system)."""
WIDE_REPEATS = 4
MANY = 10

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\d*,?\d*\}|.", re.DOTALL)
_COUNTED = re.compile(r"\{(\d*)(,?)(\d*)\}")
_WIDE = frozenset({".", r"\w", r"\W", r"\S", r"\D"})


class BadPattern(ValueError):
    """A regular expression that cannot be used; the text says why and what to do."""


@lru_cache(maxsize=512)
def compiled(pattern: str) -> re.Pattern[str]:
    r"""The pattern ready for use, with ``\w``, ``\d`` and ``\s`` meaning ASCII as in Go.

    Python's engine backtracks, so what can take exponential time is refused. Raises ``BadPattern``.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise BadPattern(f"the regular expression is longer than {LONGEST_PATTERN} characters: shorten it")
    _refuse_slow(pattern)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return re.compile(pattern, re.ASCII)
    except (re.error, OverflowError, RecursionError, ValueError, Warning) as error:
        raise BadPattern(f"{pattern!r} is not a regular expression ({error}): correct or escape it") from None


def _refuse_slow(pattern: str) -> None:
    """Raise ``BadPattern`` for repeated groups that repeat or choose inside, and for many wide repeats."""
    tokens = _TOKEN.findall(pattern)
    open_groups = [False]
    wide = 0
    inner = False
    for before, token in zip(["", *tokens], tokens, strict=False):
        if token == "(":
            open_groups.append(False)
        elif token == ")" and len(open_groups) > 1:
            inner = open_groups.pop()
            open_groups[-1] |= inner
        elif token == "|":
            open_groups[-1] = True
        elif _repeats(token):
            if before == ")" and inner:
                raise BadPattern(f"{pattern!r} repeats a group that repeats or has alternatives: simplify it")
            open_groups[-1] = True
            wide += before in _WIDE or before.startswith("[^")
    if wide > WIDE_REPEATS:
        raise BadPattern(f"{pattern!r} repeats wide classes like '.*' more than {WIDE_REPEATS} times: say more")


def _repeats(token: str) -> bool:
    """Whether the token lets what stands before it come many times."""
    if token in ("*", "+"):
        return True
    counted = _COUNTED.fullmatch(token)
    if counted is None:
        return False
    least, comma, most = counted.groups()
    return bool(comma and not most) or len(most or least) > 2 or int(most or least or 0) > MANY
