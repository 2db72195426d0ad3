"""Which pipelines are installed, ours and strangers', found by their entry points."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pipelines.plugin import ENTRY_POINTS, Parameter, Pipeline, WithModel


class NotInstalled(LookupError):
    """No pipeline of this topic can be used; the text says why."""


@dataclass(frozen=True)
class Installed:
    """An entry point and what the plug-in behind it says about itself."""

    topic: str
    plugin: str
    """Where its class is found, ``module:Class``; what a worker process is given."""
    name: str = ""
    description: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    """What it says besides: ``package`` (its distribution's version) and ``model``, the one it comes with."""
    error: str = ""
    """Why it cannot be used; empty when it can."""


@cache
def installed(*topics: str) -> Mapping[str, Installed]:
    """Every plug-in by topic, or those of some topics, the broken ones with their error. Imports them once, at the
    first call, and no others: what is not asked for costs neither time nor memory."""
    points = entry_points(group=ENTRY_POINTS)
    return look(point for point in points if not topics or point.name in topics)


def look(points: Iterable[EntryPoint]) -> dict[str, Installed]:
    """Describe plug-ins; one that fails to import, lies about its topic or is named twice breaks no other."""
    found: dict[str, Installed] = {}
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        known = found.get(point.name)
        if known is None:
            found[point.name] = _described(point)
        elif known.plugin != point.value:
            twice = f"two packages offer it: {known.plugin} and {point.value}; uninstall one"
            found[point.name] = Installed(point.name, known.plugin, error=twice)
    return found


def load(topic: str) -> Pipeline:
    """A new instance of the plug-in of a topic. Raises ``NotInstalled``."""
    plugin = installed().get(topic)
    if plugin is None:
        raise NotInstalled(f"no pipeline is installed for topic {topic!r}; there are {sorted(installed())}")
    if plugin.error:
        raise NotInstalled(f"pipeline {topic!r} cannot be used: {plugin.error}")
    return make(plugin.plugin)


def make(plugin: str) -> Pipeline:
    """A new instance of the class at ``module:Class``, which is imported if need be."""
    made = EntryPoint(plugin, plugin, ENTRY_POINTS).load()()
    if not isinstance(made, Pipeline):
        raise TypeError(f"{plugin} is not a pipeline: it needs topic, name, description, parameters and run")
    return made


def _described(point: EntryPoint) -> Installed:
    try:
        made = make(point.value)
        about = _about(point, made)
    except (Exception, SystemExit) as error:  # a stranger's module may do anything while it is imported
        return Installed(point.name, point.value, error=f"{type(error).__name__}: {error}"[:500])
    if made.topic != point.name:
        wrong = f"calls its topic {made.topic!r}, its entry point {point.name!r}"
        return Installed(point.name, point.value, made.name, error=wrong)
    return Installed(point.name, point.value, made.name, made.description, made.parameters, about)


def _about(point: EntryPoint, made: Pipeline) -> dict[str, Any]:
    about: dict[str, Any] = {"package": point.dist.version if point.dist is not None else ""}
    if isinstance(made, WithModel):
        card = made.model_card()
        about["model"] = {"version": card.version, "sha256": card.sha256, "about": dict(card.about)}
    return about
