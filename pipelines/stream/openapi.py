"""The stream's routes, described. OpenAPI has no words for WebSockets: those are in ``contracts.stream``."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from contracts.openapi import Operation, Operations, json, written
from contracts.stream import GateList, Opening
from contracts.stream_decisions import Decision
from pipelines.stream.engine import Engine, Line


def _pascal(name: str) -> str:
    return name.title().replace("_", "")


class StreamInfo(BaseModel):
    """A connection and how it is: ``unanswered`` of ``window`` frames are without an answer, and reading was ``paused``
    so many times."""

    model_config = ConfigDict(alias_generator=_pascal, populate_by_name=True, frozen=True)

    source: str
    drop: str
    window: int
    unanswered: int
    received: int
    dropped: int
    refused: int
    failed: int
    paused: int
    waits_for: str

    @classmethod
    def of(cls, opening: Opening, line: Line, engine: Engine) -> "StreamInfo":
        """As it is now."""
        counts = {status.name.lower(): number for status, number in line.lane.counts.items()}
        return cls(
            source=opening.source,
            drop=opening.drop,
            window=line.lane.window,
            unanswered=len(line.lane.frames),
            received=line.lane.received,
            dropped=counts.get("dropped", 0),
            refused=counts.get("refused", 0),
            failed=counts.get("failed", 0),
            paused=line.paused,
            waits_for=engine.trouble,
        )


class GateInfo(BaseModel):
    """A gate that decides, and frames by what it has decided since the stream began or the gate came."""

    model_config = ConfigDict(alias_generator=_pascal, populate_by_name=True, frozen=True)

    name: str
    accepted: int
    rejected: int


class GatesInfo(BaseModel):
    """The gates by which frames are decided now. ``not_applied``: those that say nothing of them, and why; ``trouble``:
    why others may hold at the gateway (empty: they do not); ``edition`` 0: none are known yet."""

    model_config = ConfigDict(alias_generator=_pascal, populate_by_name=True, frozen=True)

    edition: int
    gates: list[GateInfo]
    not_applied: dict[str, str]
    trouble: str

    @classmethod
    def of(cls, said: GateList, counts: Mapping[tuple[str, Decision], int], trouble: str) -> "GatesInfo":
        """As it is now."""
        gates = [
            GateInfo(
                name=name,
                accepted=counts.get((name, Decision.ACCEPT), 0),
                rejected=counts.get((name, Decision.REJECT), 0),
            )
            for name in said.names
        ]
        return cls(edition=said.edition, gates=gates, not_applied=said.not_applied, trouble=trouble)


def operations() -> Operations:
    """What the stream serves beside its WebSocket, ``/api/v1/stream``."""
    listed: Any = written(list[StreamInfo])
    return {
        "GET /api/v1/streams": Operation("Instruments that stream now", {200: json("In any order.", listed)}),
        "GET /api/v1/streams/gates": Operation(
            "The gates by which frames are decided", {200: json("In the order of their names.", written(GatesInfo))}
        ),
    }
