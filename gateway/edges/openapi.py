"""The routes about how instruments are, described."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from contracts.edge_status import EdgeStatus
from contracts.openapi import (
    AWAY,
    UNREADABLE,
    Answer,
    Content,
    Operation,
    Operations,
    Parameter,
    empty,
    error,
    json,
    read,
    words,
    written,
)

FAULTY: Mapping[int, Answer] = {**UNREADABLE, **AWAY}
NAME = Parameter("name", words(r"^[\w-]+$"), place="path", required=True)


def _pascal(name: str) -> str:
    return name.title().replace("_", "")


class EdgeReport(BaseModel):
    """An instrument's last report; times in ns."""

    model_config = ConfigDict(alias_generator=_pascal)

    name: str
    at: int
    behind: int
    status: EdgeStatus


def operations() -> Operations:
    """What is served about how instruments are, beside the job repository."""
    listed: Any = written(list[EdgeReport])
    return {
        "GET /api/v1/edges/status": Operation(
            "How instruments are; Behind: how far their clocks are behind", {200: json("By name.", listed), **AWAY}
        ),
        "PUT /api/v1/edges/{name}/status": Operation(
            "An instrument says how it is",
            {200: empty("Noted."), **FAULTY},
            (NAME,),
            body=Content(read(EdgeStatus)),
        ),
        "DELETE /api/v1/edges/{name}/status": Operation(
            "Forget how an instrument was",
            {200: empty("Forgotten."), 404: error("It has never said how it is."), **AWAY},
            (NAME,),
        ),
    }
