"""The routes about batches, described."""

from collections.abc import Mapping

from contracts.batches import Batch, Entry
from contracts.openapi import (
    AWAY,
    UNREADABLE,
    Answer,
    Content,
    Operation,
    Operations,
    Parameter,
    Schema,
    empty,
    error,
    json,
    number,
    read,
    words,
    written,
)
from gateway.batches.service import MOST, NewBatch

NO_BATCH: Mapping[int, Answer] = {404: error("There is no such batch.")}
NEXT: Schema = {"Link": {"description": 'Where the next page is: <…>; rel="next" (RFC 8288).', "schema": words()}}


def operations() -> Operations:
    """What is served about batches, beside the job repository."""
    listed = json("Newest first, without their entries.", written(list[Batch]))
    one = "/api/v1/batches/{batch}"
    return {
        "POST /api/v1/batches": Operation(
            "Make a batch, to submit files to",
            {201: json("It.", written(Batch)), **UNREADABLE, **AWAY},
            body=Content(read(NewBatch), description="Without a task, each file goes to the first that wants it."),
        ),
        "GET /api/v1/batches": Operation(
            "Batches",
            {200: Answer(listed.meaning, listed.content, {**listed.headers, **NEXT}), **UNREADABLE, **AWAY},
            (
                Parameter("limit", {**number(1, MOST), "default": MOST}),
                Parameter("after", number(), "The last page's cursor."),
            ),
        ),
        f"GET {one}": Operation(
            "A batch, how many of its jobs are in each state, and what became no job",
            {200: json("It.", written(Batch)), **NO_BATCH, **AWAY},
        ),
        f"PUT {one}/entries": Operation(
            "Tell what became no job",
            {200: empty("Kept."), **NO_BATCH, **UNREADABLE, **AWAY},
            body=Content(read(list[Entry])),
        ),
    }
