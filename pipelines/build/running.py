"""A whole build: targets made, all judged on unseen pictures and measured in one run, the good ones published."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.build.accuracy import Figures, loss, means, within
from pipelines.build.errors import BuildError, TooLossy
from pipelines.build.making import Order, Product, Workshop, rivals
from pipelines.build.measure import Plan, Speed, measured
from pipelines.build.nuclei import Nuclei
from pipelines.build.publishing import about, next_version, published, served
from pipelines.build.report import Report, Row
from pipelines.build.targets import Target

GPU_ONLY = "judged as its graph says; fast only on its GPU"


@dataclass(frozen=True)
class Outcome:
    """What a build has given: the report, folders of versions by target, and why the others were refused."""

    report: Report
    folders: Mapping[str, Path] = field(default_factory=dict)
    refused: Mapping[str, BuildError] = field(default_factory=dict)


@dataclass(frozen=True)
class Contest:
    """How variants are compared: on which split, how fast, and with which other libraries."""

    split: str = "test"
    plan: Plan = field(default_factory=Plan)
    compile_seconds: float = 300.0
    """That ``torch.compile`` may take; 0: it is left out."""
    compared: bool = True
    """With other libraries, and speeds; without, only what was ordered is judged."""


def run(
    recipe: Nuclei,
    targets: Sequence[Target],
    repository: Path,
    order: Order,
    contest: Contest,
    number: int = 0,
    told: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Build, judge, measure, publish as version ``number`` (0: the next).

    Before anything is written it raises ``BuildError`` where a target cannot be built, ``FileExistsError`` where that
    version is there already.
    """
    if contest.split == order.control:
        raise ValueError(
            f"split {contest.split!r} chooses the layers, so it cannot also judge the result; take another"
        )
    workshop = Workshop(recipe, order, told)
    products = [workshop.made(target) for target in targets]
    names = [served(recipe, product).name for product in products]
    number = number or next_version(repository, names)
    for name in names:
        if (repository / name / str(number)).exists():
            raise FileExistsError(f"{repository / name / str(number)} is there already; leave out --model-version")
    report = compared(workshop, products, contest, told)
    rows = {row.name: row for row in report.rows}
    base = rows[report.base].figures
    folders: dict[str, Path] = {}
    refused: dict[str, BuildError] = {}
    for product in products:
        row = rows[product.target.name]
        try:
            within(row.name, row.loss, order.limit, base, row.figures)
        except TooLossy as error:
            refused[row.name] = error
            continue
        told(f"{row.name}: loss {100 * row.loss:+.3f} %, publishing version {number}")
        said = about(workshop, product, {contest.split: row.figures}, row.loss)
        _, folders[row.name] = published(repository, recipe, product, number, said)
    return Outcome(report, folders, refused)


def compared(workshop: Workshop, products: Sequence[Product], contest: Contest, told: Callable[[str], None]) -> Report:
    """All products, and the same network at other libraries, judged and measured."""
    recipe, base = workshop.recipe, workshop.reference
    mine = {product.target.name: product.variant for product in products}
    others, absent = rivals(workshop, contest.plan, contest.compile_seconds) if contest.compared else ([], {})
    variants = {one.name: one for one in (base, *others)} | mine | {base.name: base}
    on_gpu = [product.target.name for product in products if product.target.backend == "tensorrt"]
    figures: dict[str, Figures] = {}
    for one in sorted(variants.values(), key=lambda one: bool(one.judged_as)):
        if one.judged_as in figures:
            figures[one.name] = figures[one.judged_as]
            continue
        told(f"{one.name}: judging on {contest.split}")
        figures[one.name] = means(recipe.scores(contest.split, one.predict(), one.name))
        told(f"{one.name}: F1 " + ", ".join(f"{group} {value:.4f}" for group, value in figures[one.name].items()))
    speeds: dict[str, Speed] = {}
    if contest.compared:
        told("measuring")
        raced = [one for name, one in variants.items() if name not in on_gpu]
        speeds = measured(raced, contest.plan, base.name)
    rows = [
        Row(
            name=one.name,
            size=one.size,
            figures=figures[one.name],
            loss=loss(figures[base.name], figures[one.name]),
            speed=speeds.get(one.name),
            note=GPU_ONLY if one.name in on_gpu else one.note,
        )
        for one in variants.values()
    ]
    images, limit = recipe.images(contest.split), workshop.order.limit
    return Report(recipe.name, contest.split, images, limit, contest.plan, base.name, rows, absent)


def write(report: Report, path: Path) -> None:
    """As JSON."""
    path.write_text(json.dumps(report.plain(), indent=2) + "\n", encoding="utf-8")
