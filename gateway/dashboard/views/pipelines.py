"""What is shown of pipelines and their models."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ALIVE_NS = 90 * 10**9
"""A pipeline whose runner was heard of within this time is alive; runners register every 30 s."""
MOST_FIGURES = 12
HEADLINES = ("f1", "count_error")
"""Where a card says these, they are shown; what else it says stands in the card."""
LARGEST = 10**15
"""What is larger is no figure of a model's."""
TONES = {"new": "waiting", "ready": "good", "refused": "bad"}
SPLITS = ("test", "val")


@dataclass(frozen=True)
class ModelLine:
    """A model. ``sha256`` is '' for the one that comes with the pipeline: so it is chosen."""

    version: str
    sha256: str
    digest: str
    state: str
    tone: str
    used: bool
    reason: str = ""
    by: str = ""
    at: int = 0
    ms: str = ""
    """Of one inference in the trial; '' where there was none."""
    figures: Sequence[tuple[str, str]] = ()
    own: bool = False


@dataclass(frozen=True)
class PipelineCard:
    """A pipeline and how it does. Times in ns."""

    topic: str
    name: str
    description: str
    worker: str
    seen: int
    alive: bool
    package: str
    parameters: Mapping[str, Any]
    waiting: int = 0
    oldest: int = 0
    complete: int = 0
    failed: int = 0
    paused: bool = False
    can_roll_back: bool = False
    models: Sequence[ModelLine] = field(default_factory=list)


def pipelines(
    listed: Sequence[Mapping[str, Any]], models: Mapping[str, Any], counts: Sequence[Mapping[str, Any]], now: int
) -> list[PipelineCard]:
    """Registered pipelines with their models, choices and jobs, those with models first (``now``: ns)."""
    choices = {one["Pipeline"]: one for one in models["Choices"] or ()}
    jobs = {one["Pipeline"]: one for one in counts}
    cards = [_card(one, models["Models"] or (), choices.get(one["subscriptionTopic"], {}), jobs, now) for one in listed]
    return sorted(cards, key=lambda card: not card.models)


def _card(
    one: Mapping[str, Any],
    models: Sequence[Mapping[str, Any]],
    choice: Mapping[str, Any],
    jobs: Mapping[str, Mapping[str, Any]],
    now: int,
) -> PipelineCard:
    topic, about = one["subscriptionTopic"], one.get("about", {})
    counts = jobs.get(topic, {})
    return PipelineCard(
        topic=topic,
        name=one["name"],
        description=one["description"],
        worker=one["worker"],
        seen=int(one["lastSeen"]),
        alive=now - int(one["lastSeen"]) < ALIVE_NS,
        package=str(about.get("package", "")),
        parameters=one["parameters"],
        waiting=counts.get("Waiting", 0),
        oldest=counts.get("Oldest", 0),
        complete=counts.get("Complete", 0),
        failed=counts.get("Failed", 0),
        paused=bool(choice.get("Paused")),
        can_roll_back=bool(choice.get("CanRollBack")),
        models=list(_lines(topic, about.get("model"), models, str(choice.get("Sha256", "")))),
    )


def _lines(
    topic: str, own: Mapping[str, Any] | None, models: Sequence[Mapping[str, Any]], chosen: str
) -> Iterator[ModelLine]:
    if own is None:
        return
    figures = figures_of(own.get("about", {}))
    digest = str(own.get("sha256", ""))
    yield ModelLine(str(own.get("version", "")), "", digest, "ready", "good", not chosen, figures=figures, own=True)
    for one in models:
        if one["Pipeline"] == topic:
            ms = f"{one['Seconds'] * 1000:.3g}" if one["Seconds"] else ""
            yield ModelLine(
                version=one["Version"],
                sha256=one["Sha256"],
                digest=one["Sha256"],
                state=one["State"],
                tone=TONES.get(one["State"], "idle"),
                used=one["Sha256"] == chosen,
                reason=one["Reason"],
                by=one["By"],
                at=one["At"],
                ms=ms,
                figures=figures_of(one["About"] or {}),
            )


def figures_of(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The headlines of a model's card, else its first figures; the test split before others: what, and how much."""
    metrics = about.get("metrics")
    if not isinstance(metrics, Mapping):
        return []
    ordered = sorted(metrics.items(), key=lambda pair: SPLITS.index(pair[0]) if pair[0] in SPLITS else len(SPLITS))
    found: list[tuple[str, str]] = []
    for name, value in ordered:
        found += _leaves(name, value)
    headlines = [one for one in found if one[0].rpartition(" · ")[2] in HEADLINES]
    return (headlines or found)[:MOST_FIGURES]


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            if name != "images":
                yield from _leaves(f"{path} · {name}", one)
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
        yield path, f"{value:.4g}"
