"""How instruments are: what they have said of themselves, and what of it deserves a look."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.edge_status import EdgeStatus

SECOND = 10**9
LIVELY, SILENT = 90 * SECOND, 600 * SECOND
"""Instruments report every 30 s: within the first they are well, after the second something is wrong."""
LATE_CLOCK = 10 * SECOND
LONG_WAITING = 600 * SECOND
SCARCE, LOW = 0.02, 0.10
"""Parts of a disk that are free: below the first it is an error, below the second a warning."""
ENOUGH = 50 * 10**9
"""Bytes: with so many free a disk is not low, however large it is."""
Said = tuple[str, str, dict[str, object]]
"""What follows ``instruments.warn.`` in the dictionary, the tone in which it is said, and the names to be put in."""


@dataclass(frozen=True)
class DiskLine:
    """A disk; ``tone`` as of states."""

    what: str
    path: str
    free: int
    total: int
    trouble: str
    tone: str

    @property
    def share(self) -> int:
        """Per cent in use."""
        return round(100 * (1 - self.free / self.total)) if self.total else 0


@dataclass
class Instrument:
    """An instrument as its page shows it; times in ns, 0 for never."""

    name: str
    enrolled: bool = False
    revoked: bool = False
    since: int = 0
    seen: int = 0
    last: int = 0
    file: str = ""
    status: EdgeStatus | None = None
    life: str = "unknown"
    tone: str = "idle"
    waiting: int = 0
    """Files that have not been handed over yet."""
    disks: list[DiskLine] = field(default_factory=list)
    warnings: list[Said] = field(default_factory=list)


def instruments(
    edges: Sequence[Mapping[str, Any]],
    reports: Sequence[Mapping[str, Any]],
    jobs: Sequence[Mapping[str, Any]],
    now: int,
    version: str,
) -> list[Instrument]:
    """Instruments that were enrolled, that report, or of which the last jobs came (``jobs``: newest first), by name.

    ``now`` in ns; ``version``: the gateway's."""
    found: dict[str, Instrument] = {}
    for one in edges:
        found[one["Name"]] = Instrument(
            one["Name"], True, bool(one["Revoked"]), since=one["Since"] or 0, seen=one["Seen"] or 0
        )
    for job in jobs:
        if job.get("Batch"):  # a person submitted it: no instrument
            continue
        known = found.setdefault(job["OriginHost"], Instrument(job["OriginHost"]))
        if not known.last:
            known.last, known.file = job["Created"], job["InputFile"]["Name"]
    for report in reports:
        _say(found.setdefault(report["Name"], Instrument(report["Name"])), report, now, version)
    return sorted(found.values(), key=lambda one: one.name)


def _say(one: Instrument, report: Mapping[str, Any], now: int, version: str) -> None:
    status = one.status = EdgeStatus.model_validate(report["Status"], strict=False)
    one.seen = max(one.seen, report["At"])
    silent = now - report["At"]
    one.life, one.tone = ("alive", "good") if silent < LIVELY else ("silent", "bad")
    if LIVELY <= silent < SILENT:
        one.life, one.tone = "late", "waiting"
    if one.revoked:
        one.tone = "idle"
    one.waiting = status.pending + sum(folder.waiting for folder in status.folders)
    one.disks = [
        DiskLine(disk.what, disk.path, disk.free, disk.total, disk.trouble, _tone(disk.free, disk.total, disk.trouble))
        for disk in status.disks
    ]
    one.warnings = list(_warnings(one, status, report["Behind"], version))


def _tone(free: int, total: int, trouble: str) -> str:
    if trouble or (total and free < SCARCE * total and free < ENOUGH):
        return "bad"
    return "waiting" if total and free < LOW * total and free < ENOUGH else "good"


def _warnings(one: Instrument, status: EdgeStatus, behind: int, version: str) -> Iterator[Said]:
    for trouble in status.troubles:
        yield "trouble", "bad", {"what": trouble.what, "why": trouble.why}
    for disk in one.disks:
        if disk.trouble:
            yield "away", "bad", {"path": disk.path, "why": disk.trouble}
        elif disk.tone != "good":
            yield "disk", disk.tone, {"path": disk.path, "share": disk.share}
    if status.version != version:
        yield "version", "waiting", {"theirs": status.version, "ours": version}
    if abs(behind) > LATE_CLOCK:
        key = "behind" if behind > 0 else "ahead"
        yield key, "waiting", {"seconds": round(abs(behind) / SECOND)}
    oldest = min((folder.oldest for folder in status.folders if folder.oldest), default=0)
    if oldest and status.at - oldest > LONG_WAITING:
        yield "waiting", "waiting", {"minutes": (status.at - oldest) // (60 * SECOND)}
