"""Requests that nobody would think of, made by Schemathesis of a service's own description."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure, ServerError
from schemathesis.engine import Status, events, from_schema

from contracts import transfer
from gateway.vectors import wire

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
MALFORMED = "the contract wants 500 where a body cannot be read by this call, and its clients wait for that"
UNDONE = "the contract wants 500 where it cannot be done, and its clients wait for that"


PHASES = ("examples", "coverage", "fuzzing", "stateful")
BROAD = ("/api/v1/facts", "/api/v1/matchTask", "/api/v1/matchTasks", "/api/v1/dataToHandle", "/api/v1/transmitJob")
"""Calls whose bodies have so many fields that all their corners take most of the time."""


@dataclass(frozen=True)
class Meant:
    """A 500 that the contract asks for: the call, how the text begins, and why it is no fault."""

    service: str
    operation: str
    text: str
    reason: str


MEANT = (
    Meant("job-repository", "PUT /api/v1/job/pipeline/{job_id}/{task_id}", "failed to unmarshal request", MALFORMED),
    Meant("data-organizer", "POST /api/v1/notifyNewFile", "failed to unmarshal NotifyNewFile request", MALFORMED),
    Meant("task-launcher", "POST /api/v1/retry", r"failed to process request: /api/v1/retry: time: ", MALFORMED),
    Meant("task-launcher", "POST /api/v1/task", r"failed to create task: [a-z ]+ field is empty", MALFORMED),
    Meant("job-repository", "GET /api/v1/job/owner/{owner}", r"failed to retrieve job\(s\) .*: invalid input", UNDONE),
    Meant("file-receiver-gateway", "POST /api/v1/transmitFile", "did not receive job mapping to id", UNDONE),
    Meant("file-receiver-gateway", "POST /api/v1/transmitFile", "received job input file does not match", UNDONE),
    Meant("file-receiver-gateway", "POST /api/v1/transmitFile", "job repo update failed: ", UNDONE),
    Meant("file-receiver-gateway", "POST /api/v1/retry", r"failed to validate files of \d+ jobs", UNDONE),
    Meant("file-sender-gateway", "POST /api/v1/archiveFile/{job_id}", r"job \S+ is not archived: ", UNDONE),
    Meant("file-sender-gateway", "POST /api/v1/reject/{job_id}", r"the input of job \S+ is not in the archive", UNDONE),
    Meant("file-sender-gateway", "DELETE /api/v1/reject/{job_id}", "failed to delete reject file", UNDONE),
)
"""Nothing else may answer 5xx to a service in good health."""


def is_meant(service: str, operation: str, status: int, text: str) -> bool:
    """Whether the contract asks for this answer."""
    asked = f"{operation.partition(' ')[0]} {operation.partition(' ')[2]}"
    return status == 500 and any(
        (one.service, one.operation) == (service, asked) and re.match(one.text, text) for one in MEANT
    )


@dataclass(frozen=True)
class Entry:
    """How a guarded service is come at: who asks (a token), and the root of its certificate (a PEM file)."""

    word: str = ""
    authority: Path | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.word}"} if self.word else {}

    @property
    def verify(self) -> str | bool:
        return str(self.authority) if self.authority else True


@dataclass
class Outcome:
    """What came of it: how many requests were answered, the statuses by operation, and what was wrong."""

    requests: int
    seen: dict[str, set[int]]
    faults: list[str]


def fuzz(
    url: str,
    service: str,
    known: Mapping[str, Sequence[str]],
    task_of: Mapping[str, str],
    *,
    examples: int,
    seed: int | None = 1,
    thorough: bool = False,
    phases: Sequence[str] = PHASES,
    entry: Entry = Entry(),
) -> Outcome:
    """Ask the service at ``url`` what its description allows, and what it does not: each operation ``examples`` times
    beside the corners of its description, and in sequences. ``known``: values worth trying, by ``path.NAME``,
    ``header.NAME`` …; ``task_of``: by job. Without a seed every run is another; ``thorough``: all corners."""
    config = _config(known, examples, seed, thorough, phases, entry)
    schema = _schema(url, config, entry)

    @schema.hook
    def map_path_parameters(_context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        if not path_parameters or path_parameters.get("task_id") not in known["path.task_id"]:
            return path_parameters
        return path_parameters | {
            "task_id": task_of.get(str(path_parameters.get("job_id"))) or path_parameters["task_id"]
        }

    @schema.hook
    def filter_failure(_context: Any, failure: Failure, case: Any, response: Any) -> bool:
        meant = is_meant(service, case.operation.label, response.status_code, response.text)
        return not (isinstance(failure, ServerError) and meant)

    outcome = Outcome(0, {}, [])
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _count(event, outcome)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            outcome.faults.append(f"{service}: {event!r}")
    return outcome


@dataclass(frozen=True)
class Drawn:
    """A request that was made up. ``public``: its description says that nobody has to say who they are."""

    operation: str
    public: bool
    request: requests.PreparedRequest
    first: bool
    """Of its operation."""

    @property
    def changes(self) -> bool:
        """Whether it is no mere look."""
        return self.request.method not in ("GET", "HEAD", "OPTIONS")


def drawn(
    url: str, known: Mapping[str, Sequence[str]], *, examples: int, seed: int | None, entry: Entry
) -> list[Drawn]:
    """Requests as the service describes them, up to ``examples`` for each operation, with nobody's name on them: to be
    sent by whom one likes. Those that break the description are left out: they would be refused for that."""
    schema = _schema(url, _config(known, examples, seed, False, PHASES, entry), entry)
    found: list[Drawn] = []
    for result in schema.get_all_operations():
        operation = result.ok()
        public = operation.definition.raw.get("security") == []
        cases: list[Any] = []
        given(operation.as_strategy())(_rules(examples, seed)(cases.append))()
        for place, case in enumerate(cases):
            asked = requests.Request(**case.as_transport_kwargs(base_url=url)).prepare()
            for name in ("Authorization", "Cookie"):
                asked.headers.pop(name, None)
            found.append(Drawn(operation.label, public, asked, first=place == 0))
    return found


def _rules(examples: int, given_seed: int | None) -> Any:
    quiet = {"database": None, "deadline": None, "phases": (Phase.generate,), "verbosity": Verbosity.quiet}
    rules = settings(max_examples=examples, suppress_health_check=list(HealthCheck), **quiet)

    def ruled(keep: Callable[[Any], None]) -> Any:
        def take(case: Any) -> None:
            keep(case)

        return rules(take if given_seed is None else seeded(given_seed)(take))

    return ruled


def _schema(url: str, config: SchemathesisConfig, entry: Entry) -> Any:
    return schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json", config=config, verify=entry.verify)


def _config(
    known: Mapping[str, Sequence[str]],
    examples: int,
    seed: int | None,
    thorough: bool,
    phases: Sequence[str],
    entry: Entry,
) -> SchemathesisConfig:
    names = {place: f"known-{place.replace('.', '-')}" for place, values in known.items() if values}
    corners = {"include-path": list(BROAD), "phases": {"coverage": {"enabled": False}}}
    return SchemathesisConfig.from_dict(
        {
            **({"seed": seed} if seed is not None else {}),
            "dictionaries": {name: {"values": list(known[place])} for place, name in names.items()},
            "parameters": {place: {"dictionary": name, "probability": 0.85} for place, name in names.items()},
            "headers": entry.headers,
            "tls-verify": entry.verify,
            "continue-on-failure": True,
            "request-timeout": 30.0,
            "generation": {
                "max-examples": examples,
                "deterministic": seed is not None,
                "no-shrink": True,
                "database": "none",
            },
            "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
            "operations": [] if thorough else [corners],
            "phases": {
                **{phase: {"enabled": phase in phases} for phase in PHASES},
                "coverage": {"enabled": "coverage" in phases, **({} if thorough else {"unexpected-methods": []})},
                "stateful": {
                    "enabled": "stateful" in phases,
                    "max-steps": 6,
                    "generation": {"max-examples": max(2, examples // 4)},
                },
            },
        }
    )


def _count(event: events.ScenarioFinished, outcome: Outcome) -> None:
    recorder = event.recorder
    outcome.requests += len(recorder.interactions)
    for case_id, interaction in recorder.interactions.items():
        if interaction.response is not None and case_id in recorder.cases:
            label = recorder.cases[case_id].value.operation.label
            outcome.seen.setdefault(label, set()).add(interaction.response.status_code)
    for checks in recorder.checks.values():
        outcome.faults += [_told(one) for one in checks if one.status is Status.FAILURE and one.failure_info]


def _told(check: Any) -> str:
    failure = check.failure_info.failure
    return f"{failure.operation}: {failure.title}: {failure.message}\n{check.failure_info.code_sample}"


def distinct(faults: Iterable[str]) -> list[str]:
    """One of each kind."""
    return list({fault.partition("\n")[0]: fault for fault in faults}.values())


for media in (transfer.MEDIA_TYPE, "application/octet-stream", "application/zip", wire.MEDIA):
    schemathesis.openapi.media_type(media, st.binary(max_size=6))
