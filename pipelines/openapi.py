"""The runner's routes, described."""

from contracts.models import PipelineInfo
from contracts.openapi import Operation, Operations, json, written


def operations() -> Operations:
    """What the runner of pipelines serves."""
    return {
        "GET /api/v1/pipelines": Operation(
            "Pipelines that run here", {200: json("The ids are new each time.", written(list[PipelineInfo]))}
        ),
    }
