"""The edge's file receiver's routes, described."""

from contracts.openapi import Operation, Operations, empty


def operations() -> Operations:
    """What the edge's file receiver serves."""
    return {"POST /api/v1/retry": Operation("Look for results now", {200: empty("Heard.")})}
