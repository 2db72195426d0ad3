"""Room on disks: how much is free, and whether something new may begin. Below its mark nothing is begun."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from contracts.errors import Full

MB = 10**6
BEGUN = 4
"""What was begun may go on down to this part of the mark: a database on the same disk needs the rest."""


class Disk(Protocol):
    """Tells how many bytes are free on the disk of a path. Raises ``OSError`` where there is no such path."""

    def free(self, path: Path) -> int: ...


class RealDisk:
    """What the system says; reserved blocks, which only an administrator may use, do not count."""

    def free(self, path: Path) -> int:
        return shutil.disk_usage(path).free


def shortage(path: Path, free: int, least: int, wanted: int, promised: int = 0) -> str:
    """Why something of ``wanted`` bytes may not begin where ``least`` bytes must stay free; empty if it may. Others are
    under way that still need ``promised`` bytes."""
    if free - promised - wanted >= least:
        return ""
    others = f", {_mb(promised)} MB of them promised to what is under way" if promised else ""
    more = f" and this needs {_mb(wanted)} MB more" if wanted else ""
    here = f"the disk of {path} has {_mb(free)} MB free{others}"
    return f"{here}; {_mb(least)} MB must stay free{more}: free some or add more"


def _mb(size: int) -> str:
    return f"{size / MB:.1f}".removesuffix(".0")


class Room:
    """The disks on which a service and what it relies on keep their data, by the names of the places.

    What is wanted is wanted in the first place. A place that is not there (yet) is not looked at.
    """

    name = "room"

    def __init__(self, places: Mapping[str, Path], least_mb: int, disk: Disk | None = None) -> None:
        """``least_mb`` (10**6 bytes) must stay free in each place; 0: never mind."""
        self._places, self._least, self._disk = dict(places), least_mb * MB, disk or RealDisk()

    def check(self, wanted: int = 0, *, promised: int = 0, begun: bool = False) -> None:
        """Raises ``Full``, naming disk, free and wanted MB, unless so many bytes may be taken now. Blocks.

        ``begun``: they belong to something that was begun when there was room; ``promised``: bytes that others, which
        were begun before, still need.
        """
        least = self._least // BEGUN if begun else self._least
        for place, (path, free) in self._found().items():
            here = (wanted, promised) if place == next(iter(self._places)) else (0, 0)
            if self._least and (words := shortage(path, free, least, *here)):
                error = Full(words)
                error.waits = f"waits for room on the disk of {path}"
                raise error

    @property
    def trouble(self) -> str:
        """What ``check`` would complain of; empty when there is room."""
        try:
            self.check()
        except Full as error:
            return str(error)
        return ""

    def collect(self) -> Iterable[Metric]:
        """Free bytes by place, and how many must stay."""
        family = GaugeMetricFamily("cytobus_disk_free_bytes", "Free bytes on the disk of a place", labels=["place"])
        for place, (_, free) in self._found().items():
            family.add_metric([place], free)
        yield family
        words = "Bytes that must stay free there: below it nothing new is begun"
        least = GaugeMetricFamily("cytobus_disk_least_bytes", words, labels=["place"])
        for place in self._places:
            least.add_metric([place], self._least)
        yield least

    def _found(self) -> dict[str, tuple[Path, int]]:
        found = {}
        for place, path in self._places.items():
            try:
                found[place] = path, self._disk.free(path)
            except OSError:
                continue
        return found
