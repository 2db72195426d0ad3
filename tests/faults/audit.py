"""The accounts of the spread world: what went in, against the jobs and the results that there are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contracts.models import State
from tests.faults.trials import ASKS, DOOMED, expected


def audit(content: Mapping[str, bytes], jobs: Sequence[Mapping[str, Any]], output: Path) -> dict[str, list[str]]:
    """What is wrong, by kind; each list is empty when all is well. ``content``: the files that went in, by name;
    ``jobs``: all that the repository knows; ``output``: where results come back."""
    of_name: dict[str, list[Mapping[str, Any]]] = {}
    for job in jobs:
        of_name.setdefault(job["InputFile"]["Name"], []).append(job)
    first = {name: found[0] for name, found in of_name.items()}
    held = {name for name, job in first.items() if job["State"] == State.QUARANTINED}
    wanted: dict[str, bytes] = {}
    for name, bytes_ in content.items():
        if name not in held:
            wanted |= expected(name, bytes_)
    files = [path for path in output.rglob("*") if path.is_file() and ".parts" not in path.parts]
    there = {str(path.relative_to(output)): path for path in files}
    both = wanted.keys() & there.keys()
    needless = [name for name in held if not name.startswith((*DOOMED, ASKS))]
    ended = {name for name, job in first.items() if job["State"] in (State.FAILED, State.UNMATCHED)}
    return {
        "lost: not registered": sorted(content.keys() - of_name.keys()),
        "lost: no result": sorted(wanted.keys() - there.keys()),
        "corrupt": sorted(name for name in both if there[name].read_bytes() != wanted[name]),
        "duplicated: registered twice": sorted(name for name, found in of_name.items() if len(found) > 1),
        "duplicated: unknown results": sorted(there.keys() - wanted.keys()),
        "registered, never dropped": sorted(of_name.keys() - content.keys()),
        "failed": sorted(f"{name}: {first[name]['Reason']}" for name in ended),
        "in quarantine without a reason": sorted(name for name in held if not first[name]["Reason"]),
        "in quarantine without need": sorted(f"{name}: {first[name]['Reason']}" for name in needless),
        "came back, though doomed": sorted(name for name in content if name.startswith(DOOMED) and name not in held),
    }
