"""The edge's file sender's routes, described."""

from contracts.models import Job
from contracts.openapi import (
    AWAY,
    JSON,
    UNREADABLE,
    Content,
    Operation,
    Operations,
    Schema,
    empty,
    error,
    filled,
    read_loosely,
)

FILE: Schema = {
    "required": ["Id", "InputFile"],
    "properties": {**filled("Id")["properties"], "InputFile": filled("Hostname", "DirName", "Name")},
}


def operations() -> Operations:
    """What the edge's file sender serves."""
    return {
        "POST /api/v1/dataToHandle": Operation(
            "Send the file of a job that another program has made",
            {
                200: empty("It will be sent."),
                404: error("The gateway knows no such job."),
                409: error("The gateway has given the job up."),
                422: error("The gateway refuses the job for good."),
                425: error("The job is not that far.", retry=True),
                **UNREADABLE,
                **AWAY,
            },
            body=Content(read_loosely(Job, FILE), JSON, "A file in a watched folder of this host."),
        ),
        "POST /api/v1/retry": Operation("Look for all work now", {200: empty("Heard.")}),
    }
