"""Keyset paging: where the pages around one are, and what sorts them."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit

from contracts.errors import BadRequest

LONGEST_TRAIL = 4000
"""Signs of the way back that an address holds; from farther on it leads to the first page."""
SORTED = ("name", "registered", "changed")
"""What there are columns to sort by for."""


def cursor(token: str) -> dict[str, str]:
    """The cursor of a listing that a page's address names. Raises ``BadRequest``."""
    after, _, mark = token.partition("~")
    if not (after.isascii() and after.isdigit() and len(after) < 20):
        raise BadRequest(f"after is {token[:40]!r}; it must be as a page's links say it: begin again at the first page")
    if not mark:
        return {"after": after}
    try:
        return {"after": after, "mark": base64.b64decode(mark.encode(), b"-_", validate=True).decode()}
    except (binascii.Error, ValueError):
        raise BadRequest(f"after is {token[:40]!r}; it is damaged: begin again at the first page") from None


def token(after: str, mark: str) -> str:
    """The other way round: a word without a full stop."""
    return after + (f"~{base64.urlsafe_b64encode(mark.encode()).decode()}" if mark else "")


def following(links: Mapping[str | None, Mapping[str, str]]) -> str:
    """The token of the page after that of an answer with these ``Link`` headers; empty on the last."""
    said = parse_qs(urlsplit(links.get("next", {}).get("url", "")).query)
    return token(said["after"][0], said.get("mark", [""])[0]) if "after" in said else ""


@dataclass(frozen=True)
class Paging:
    """Addresses of the pages around this one; empty where there is none."""

    first: str = ""
    before: str = ""
    next: str = ""


def paging(filters: Mapping[str, str], params: Mapping[str, str], following: str) -> Paging:
    """``following`` is the cursor of the next page, empty on the last; the way back is kept in the address."""
    after, trail = params.get("after", ""), [one for one in params.get("trail", "").split(".") if one]
    onward = address({**filters, "after": following, "trail": _trail([*trail, after or "0"])}) if following else ""
    if not after:
        return Paging(next=onward)
    back = dict(filters)
    if trail and trail[-1] != "0":
        back |= {"after": trail[-1], "trail": ".".join(trail[:-1])}
    return Paging(first=address(filters), before=address(back), next=onward)


def _trail(passed: Sequence[str]) -> str:
    kept = list(passed)
    while len(kept) > 1 and sum(map(len, kept)) + len(kept) > LONGEST_TRAIL:
        kept.pop(0)
    return ".".join(kept)


@dataclass(frozen=True)
class Head:
    """A column by which a table can be sorted: where it is then, and how it is now (as ARIA has it)."""

    address: str
    aria: str


def heads(filters: Mapping[str, str], sort: str, order: str) -> dict[str, Head]:
    """By column. The one that sorts turns round when it is asked for again."""
    found = {}
    for column in SORTED:
        usual = "asc" if column == "name" else "desc"
        wanted = usual if column != sort else "asc" if order == "desc" else "desc"
        aria = "none" if column != sort else "ascending" if order == "asc" else "descending"
        found[column] = Head(address({**filters, "sort": column, "order": wanted}), aria)
    return found


def address(params: Mapping[str, str]) -> str:
    """Of a page of jobs."""
    return "/?" + urlencode({name: value for name, value in params.items() if value})
