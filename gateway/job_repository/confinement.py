"""What an instrument may report: the steps that it takes itself, of its own jobs."""

from collections.abc import Mapping, Sequence

from contracts import events as ev
from contracts.errors import Forbidden
from contracts.models import Owner

OF_EDGES = (ev.JobCreated, ev.TransferStarted, ev.JobUnmatched, ev.OutputsDelivered, ev.StepFailed)
SERVICES = frozenset(
    {Owner.FILE_WATCHER, Owner.DATA_ORGANIZER, Owner.FILE_SENDER_EDGE, Owner.FILE_RECEIVER_EDGE}
)  # fmt: skip


def check_edge(edge: str, facts: Sequence[ev.Fact], hosts: Mapping[str, str]) -> None:
    """``hosts``: whose jobs those are that exist. Raises ``Forbidden`` for all when one is not the instrument's to
    tell: an honest one never does that."""
    for fact in facts:
        if not isinstance(fact, OF_EDGES) or fact.by not in SERVICES:
            raise Forbidden(f"{fact.kind} by {fact.by} is not for an instrument to report")
        if fact.messages:
            raise Forbidden("an instrument sends no messages through the gateway")
        told = fact.input_file.hostname if isinstance(fact, ev.JobCreated) else edge
        if told != edge or hosts.get(fact.job_id, edge) != edge:
            raise Forbidden(f"job {fact.job_id} does not belong to the instrument {edge}")
