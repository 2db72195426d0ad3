"""A client's partial update of a job: a flat map of dotted paths, as the contract has it."""

from collections.abc import Mapping
from typing import Any

from contracts import rules
from contracts.errors import NotFound
from contracts.gojson import BadBody, decode_value, loads
from contracts.models import Job

OURS = frozenset(
    {
        *("Id", "LastUpdated", "State", "Reason", "OriginHost", "OriginDir", "Created", "Attempts", "Failures"),
        *("NotBefore", "LeaseHolder", "LeaseUntil", "HeldState", "Previewed", "Spared", "Files", "AppliedTask"),
        *("AppliedVersion", "Begun", "Earlier", "Batch"),
    }
)
"""Top-level fields that a client may send back but not change."""
OURS_WITHIN = {
    "InputFile": ("Sha256", "Size"),
    "PipelineDetails": ("PipelineId", "OutputFolder", "Parameters", "TaskVersion", "Launch"),
}
"""Fields that stay when a client sets a whole object and does not know them."""


def patched(job: Job, fields: Mapping[str, Any]) -> Job:
    """The job with the fields set; its state follows the contract's words where those were set.

    All or nothing. Each path must exist in the job's JSON, in exact case. Raises ``NotFound`` (the contract
    answers 404) naming the entry that does not fit.
    """
    if not fields:
        raise NotFound("no job fields provided to update")
    document = job.model_dump(mode="json", by_alias=True)
    for path, value in fields.items():
        if path not in OURS:
            _put(document, path.split("."), _with_ours(document, path, value))
    try:
        changed = decode_value(Job, document)
    except BadBody as error:
        raise NotFound(f"failed to unmarshal job: {error}") from None
    return _with_state(job, changed)


def _with_ours(document: Mapping[str, Any], path: str, value: Any) -> Any:
    if path not in OURS_WITHIN or not isinstance(value, dict):
        return value
    return {name: document[path][name] for name in OURS_WITHIN[path]} | value


def _put(document: dict[str, Any], path: list[str], value: Any) -> None:
    key, rest = path[0], path[1:]
    if not rest:
        if key not in document:
            raise NotFound(f"entry {key} does not exist")
        document[key] = value
        return
    if key not in document:
        raise NotFound(f"entry {'.'.join(path)} does not exist")
    if not isinstance(document[key], dict):
        raise NotFound(f"expected sub structure for key {key}")
    _put(document[key], rest, value)


def _with_state(old: Job, new: Job) -> Job:
    def words(job: Job) -> tuple[str, str, str]:
        return job.owner, job.status, job.pipeline_details.status

    if words(old) == words(new):
        return new
    state = rules.read_back(*words(new))
    if state is None or state is old.state:
        return new
    return new.evolve(state=state, failures=0, not_before=0, lease_holder="", lease_until=0, held_state=None, reason="")


def object_in(body: bytes) -> dict[str, Any]:
    """The flat map in a request body. Raises ``BadBody`` saying what is wrong with it."""
    value = loads(body)
    if not isinstance(value, dict):
        raise BadBody(f"json: cannot unmarshal {type(value).__name__} into a map of fields")
    return value
