"""The file watcher's routes, described."""

from contracts.openapi import AWAY, UNREADABLE, Operation, Operations, Parameter, Schema, json, number, words
from edge.rows import FileState

STATES = [str(state) for state in FileState]
ROW: Schema = {
    "type": "object",
    "properties": {
        **{key: words() for key in ("path", "sha256", "jobId", "outcome", "reason")},
        **{key: number() for key in ("id", "size", "seenAt")},
        "state": {"enum": STATES},
    },
    "required": ["id", "path", "size", "sha256", "jobId", "state", "outcome", "reason", "seenAt"],
    "additionalProperties": False,
}
FILES: Schema = {
    "type": "object",
    "properties": {
        "files": {"type": "array", "items": ROW},
        "next": {"type": ["integer", "null"], "description": "What to ask for as after; null on the last page."},
        "counts": {"type": "object", "properties": {state: number() for state in STATES}, "required": STATES},
        "pending": {**number(), "description": "Files that are not complete yet."},
    },
    "required": ["files", "next", "counts", "pending"],
    "additionalProperties": False,
}


def operations() -> Operations:
    """What the file watcher serves."""
    asked = (
        Parameter("state", {"enum": STATES, "default": str(FileState.HELD)}),
        Parameter("limit", {**number(1, 1000), "default": 100}),
        Parameter("after", {**number(), "default": 0}, "The last page's next."),
    )
    return {
        "GET /api/v1/files": Operation(
            "Files that the edge knows", {200: json("A page, oldest first.", FILES), **UNREADABLE, **AWAY}, asked
        ),
    }
