"""What a pipeline is: a topic, a few words about itself, and ``run``.

A plug-in sees no bus, no HTTP and no job: it gets a file and an empty folder, and says what it made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

ENTRY_POINTS = "cytobus.pipelines"
"""The entry-point group in which a package names its pipelines: ``only-file = "my_package:MyPipeline"``."""


class BadInput(Exception):
    """This file can never be processed: trying again is of no use. The text is shown to the operator."""


class Later(Exception):
    """What the pipeline needs is away just now, such as a model server: the job waits, and this run does not count.

    The text says what is waited for, the same each time; ``seconds``: earlier it is of no use to try again.
    """

    def __init__(self, text: str, seconds: float = 0.0) -> None:
        super().__init__(text)
        self.seconds = seconds


@dataclass(frozen=True)
class Parameter:
    """One setting of a pipeline that a task may change (``ModelParameters`` of the task)."""

    kind: type[bool] | type[int] | type[float] | type[str]
    default: bool | int | float | str
    description: str


@dataclass(frozen=True)
class Work:
    """One file to be processed."""

    image: Path
    """The input; to be read only."""
    folder: Path
    """Empty and private to this run. What is written here and named in the result is delivered."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Settings of the task, as text (the wire carries nothing else); see ``setting``."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What is known of the file: plate, well, field, channel, laboratory, operator …"""
    model: Path | None = None
    """Folder of the model that is chosen for this pipeline, verified; None: the one that it comes with."""
    job: str = ""
    """A name of this piece of work that no other has, for tables that are put together later; empty: not told."""


@dataclass(frozen=True)
class Result:
    """What a pipeline has made of a file."""

    outputs: tuple[str, ...] = ()
    """Names of files in the work's folder, in the order in which they are to be listed."""
    results: str = ""
    """Short text for the operator and for programs (JSON where it has structure)."""
    qc_flags: str = ""
    """Comma-separated warnings about the image; empty or ``passed`` when there are none."""


@runtime_checkable
class Pipeline(Protocol):
    """A plug-in. It is made without arguments, once in each worker process, and called many times."""

    topic: str
    name: str
    description: str
    parameters: Mapping[str, Parameter]

    def run(self, work: Work) -> Result:
        """Process one file. ``BadInput`` ends the job, ``Later`` puts it off; any other exception is tried again a few
        times."""
        ...


@dataclass(frozen=True)
class ModelCard:
    """The model that a pipeline comes with: ``sha256`` of its ``metadata.json``, and what people should know of it."""

    version: str
    sha256: str
    about: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class WithModel(Pipeline, Protocol):
    """A pipeline that can also be given other models than its own (``Work.model``)."""

    def model_card(self) -> ModelCard: ...

    def try_model(self, folder: Path) -> float:
        """Look at an uploaded model and run it once; seconds of one inference. Raises ``BadInput`` with what is wrong.
        Nothing in the folder is to be run as a program."""
        ...


def setting(work: Work, parameters: Mapping[str, Parameter], name: str) -> bool | int | float | str:
    """The typed value of a parameter: the task's if it gives one, else the default.

    Raises ``BadInput`` when the task's text is not of the declared kind.
    """
    parameter = parameters[name]
    text = work.parameters.get(name)
    if text is None or text == "":
        return parameter.default
    try:
        if parameter.kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
        return parameter.kind(text)
    except (KeyError, ValueError):
        raise BadInput(
            f"parameter {name!r} of the task is {text!r}, which is not a {parameter.kind.__name__}; "
            f"correct the task's ModelParameters (default: {parameter.default})"
        ) from None
