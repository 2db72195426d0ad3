"""The routes of the cell index, described."""

from collections.abc import Mapping

from contracts.openapi import (
    AWAY,
    FULL,
    UNREADABLE,
    Answer,
    Content,
    Operation,
    Operations,
    Parameter,
    error,
    json,
    number,
    read,
    words,
    written,
)
from gateway.cells.said import MODEL, MOST_FOUND, Added, Cell, Deleted, NewCells, Similar, Unwanted
from gateway.cells.shards import operations as of_shards

FAULTY: Mapping[int, Answer] = {**UNREADABLE, **AWAY}
NO_CELL: Mapping[int, Answer] = {404: error("There is no such cell, or nothing of the model is kept.")}
UNMAPPED: Mapping[int, Answer] = {
    409: error("The models cannot be compared, or there is no encoder; the reason is told.")
}
ANY: Mapping[str, object] = {"type": "array", "items": {"type": "string"}, "maxItems": 100}
FILTERS = (
    Parameter("among", words(), "The model among whose vectors is looked; default: the query's own."),
    Parameter("k", {**number(1, MOST_FOUND), "default": 10}, "So many."),
    Parameter("instrument", ANY, "Any of these."),
    Parameter("job", ANY, "Any of these."),
    Parameter("class", ANY, "Any of these."),
    Parameter("since", number(), "Not before (ns)."),
    Parameter("until", number(), "Before (ns)."),
)
STATISTICS = {
    "type": "object",
    "required": ["Models"],
    "properties": {
        "Models": {"type": "array", "items": {"type": "object", "required": ["Model", "Count", "Troubles"]}}
    },
}


def operations() -> Operations:
    """What the cell index serves."""
    found = json("The nearest first.", written(Similar))
    return {
        "POST /api/v1/cells": Operation(
            "Keep the vectors of an image's cells",
            {
                201: Answer("They are kept, and found from now on.", Content(written(Added))),
                409: error("There are too many models or classes, or another process has the folder."),
                **FAULTY,
                **FULL,
            },
            body=Content(read(NewCells), description="A cell that is told again (job, model, number) is replaced."),
        ),
        "GET /api/v1/cells": Operation(
            "How many vectors there are, by model, and how they are kept", {200: json("By model.", STATISTICS), **AWAY}
        ),
        "GET /api/v1/cells/{cell:int}": Operation(
            "A cell",
            {200: json("What is said of it.", written(Cell)), **NO_CELL, **AWAY},
            (Parameter("cell", number(), "Its id.", place="path", required=True),),
        ),
        "POST /api/v1/cells/delete": Operation(
            "Forget cells, or all of a job",
            {200: Answer("They are not found any more.", Content(written(Deleted))), **NO_CELL, **FAULTY, **FULL},
            body=Content(read(Unwanted)),
        ),
        "GET /api/v1/cells/similar": Operation(
            "Cells like a cell, or like a vector",
            {200: found, **NO_CELL, **UNMAPPED, **FAULTY},
            (
                Parameter("cell", number(), "The id of the cell that others are to be like."),
                Parameter("vector", words(), "Or a vector: base64 (or base64url) of float32, the lowest byte first,"),
                Parameter("model", words(f"^$|{MODEL}"), "and the version of the model that made it."),
                *FILTERS,
            ),
        ),
        "POST /api/v1/cells/similar": Operation(
            "Cells like that of an image",
            {200: found, **NO_CELL, **UNMAPPED, **FAULTY},
            FILTERS,
            body=Content({"type": "string", "format": "binary"}, "application/octet-stream", "The image of one cell."),
        ),
        **of_shards(),
    }
