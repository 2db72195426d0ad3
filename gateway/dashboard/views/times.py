"""Times as people write them, in the time of the place where they are."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from contracts.errors import BadRequest


def moment_in(name: str, said: str, zone: str) -> int:
    """ns since the epoch of a date and time that a form has. Raises ``BadRequest`` naming the field."""
    try:
        when = datetime.fromisoformat(said)
    except ValueError:
        raise BadRequest(f"{name} is {said[:40]!r}; it must be a date and time such as 2026-11-01T08:30") from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=_zone(zone))
    try:
        at = int(when.timestamp() * 1000) * 10**6
    except (OverflowError, ValueError, OSError):
        at = -1
    if not 0 <= at < 2**63:
        raise BadRequest(f"{name} is {said[:40]!r}; it must be a time from 1970 to 2262")
    return at


def _zone(name: str) -> tzinfo:
    """Of this name; UTC for one that is not known here."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ValueError, OSError, KeyError):  # ZoneInfo's own error is a KeyError
        return UTC
