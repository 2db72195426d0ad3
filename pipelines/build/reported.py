"""The command ``cytobus build``: a build, with what is written of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.build import running
from pipelines.build.errors import BuildError
from pipelines.build.making import Order
from pipelines.build.measure import Plan
from pipelines.build.nuclei import Nuclei
from pipelines.build.publishing import packed
from pipelines.build.report import written
from pipelines.build.running import Contest, Outcome
from pipelines.build.targets import named
from pipelines.model_folder import BrokenModel, ModelFolder
from pipelines.nuclei.model import PRECISIONS, shipped

FAILURES = (BuildError, BrokenModel, ValueError, OSError)
"""What is told as it stands: the text names what is wrong and what to do."""
__all__ = ["FAILURES", "Contest", "Order", "Plan", "Wanted", "built"]


@dataclass(frozen=True)
class Wanted:
    """Targets by name, and where things go."""

    targets: tuple[str, ...]
    repository: Path
    number: int = 0
    """Of the version; 0: the next."""
    report: Path | None = None
    card: Path | None = None
    package: Path | None = None


def built(
    model: Path | None,
    data: Path,
    wanted: Wanted,
    order: Order,
    contest: Contest,
    most: int | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Build the nuclei model of a folder (None: the shipped one), write what is wanted. Raises one of ``FAILURES``."""
    targets = named(list(wanted.targets))
    needed = {f"openvino-{precision}" for precision in PRECISIONS}
    if wanted.package is not None and (missing := sorted(needed - {*wanted.targets})):
        raise BuildError(f"a package holds both precisions; build --to {' --to '.join(missing)} too")
    if wanted.package is not None and wanted.package.exists():
        raise FileExistsError(f"{wanted.package} is there already; name another file")
    recipe = Nuclei(ModelFolder(model) if model else shipped(), data, most)
    outcome = running.run(recipe, targets, wanted.repository, order, contest, wanted.number, told)
    if wanted.report is not None:
        running.write(outcome.report, wanted.report)
    if wanted.card is not None:
        written(wanted.card, outcome.report)
    if wanted.package is not None and needed <= outcome.folders.keys():
        folders = {name: outcome.folders[f"openvino-{name}"] for name in PRECISIONS}
        packed(wanted.package, folders, wanted.card)
    return outcome
