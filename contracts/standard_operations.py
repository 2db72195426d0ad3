"""The routes that every service has, described."""

from collections.abc import Mapping
from typing import Any

from contracts.openapi import ANYBODY, KNOWN, Answer, Content, Operation, Operations, Schema, error, json

TROUBLES: Schema = {"type": "object", "additionalProperties": {"type": "string"}}


def _object(**properties: Schema) -> Schema:
    """An object of exactly these fields."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


_WORD: Schema = {"type": "string"}
_EDGEX: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, Any]]] = {
    "ping": ("It lives; EdgeX's probe", ANYBODY, {"timestamp": _WORD}),
    "version": ("Which version this is", KNOWN, {"version": _WORD, "sdk_version": _WORD}),
    "config": ("The settings it runs with, without secrets", KNOWN, {"config": {"type": "object"}}),
}


def standard_operations() -> Operations:
    """What ``contracts.standard`` serves."""
    found: dict[str, Operation] = {}
    for api in ("v2", "v3"):
        for word, (summary, callers, fields) in _EDGEX.items():
            shape = _object(apiVersion={"const": api}, serviceName=_WORD, **fields)
            found[f"GET /api/{api}/{word}"] = Operation(
                summary, {200: json("As EdgeX has it.", shape)}, callers=callers
            )
    ready = _object(service=_WORD, ready={"type": "boolean"}, troubles=TROUBLES)
    health = _object(service=_WORD, state={"enum": ["ok", "degraded"]}, troubles=TROUBLES)
    figures = Answer("Prometheus' text format.", Content(_WORD, "text/plain"))
    found |= {
        "GET /api/v1/health": Operation(
            "It lives, and what troubles it", {200: json("Alive.", health)}, callers=ANYBODY
        ),
        "GET /api/v1/ready": Operation(
            "Whether it can do its work now",
            {200: json("It can.", ready), 503: json("It cannot, and why.", ready)},
            callers=ANYBODY,
        ),
        "GET /metrics": Operation("Figures", {200: figures, 503: error("They cannot be taken now.", retry=True)}),
        "GET /api/v1/openapi.json": Operation(
            "This document", {200: json("OpenAPI 3.1.", {"type": "object"})}, callers=ANYBODY
        ),
    }
    return found
