"""The data organizer's routes, described."""

from contracts.models import Job
from contracts.openapi import JSON, Content, Operation, Operations, Schema, empty, error, filled, read_loosely

FILE: Schema = {"required": ["InputFile"], "properties": {"InputFile": filled("DirName", "Name")}}


def operations() -> Operations:
    """What the data organizer serves."""
    return {
        "POST /api/v1/notifyNewFile": Operation(
            "A new file, told by another program",
            {
                200: empty("It is on its way."),
                204: empty("No task wants it."),
                208: empty("It was had before."),
                400: error("The file cannot be taken now, or the gateway is away."),
                500: error("The body cannot be read."),
            },
            body=Content(read_loosely(Job, FILE), JSON, "A file in a watched folder."),
        ),
        "POST /api/v1/retry": Operation("Look for all work now", {200: empty("Heard.")}),
    }
