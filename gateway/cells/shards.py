"""The routes by which another cell index has a part of its vectors kept here (see ``gateway.vectors.remote``)."""

import asyncio
import re
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.errors import BadRequest
from contracts.openapi import AWAY, FULL, UNREADABLE, Answer, Content, Operation, Operations, Parameter, error
from gateway.cells.rules import LONGEST
from gateway.cells.said import MODEL, MOST_FOUND
from gateway.cells.spaces import Spaces
from gateway.vectors.port import Found, IdSet, VectorIndex
from gateway.vectors.wire import MEDIA, packed, unpacked

LARGEST = 2**28
"""Bytes of a request."""
HIGHEST = 2**40
"""Ids are below."""
QUERIES = 10_000


class ShardRoutes:
    """For our own services alone: nobody is asked whether vectors are normalised, or ids in order."""

    def __init__(self, spaces: Spaces) -> None:
        self._spaces = spaces

    def routes(self) -> list[BaseRoute]:
        return [Route("/api/v1/vectors/{what}", self.on_ask, methods=["POST"])]

    async def on_ask(self, request: Request) -> Response:
        """One call of a ``VectorIndex``."""
        what = request.path_params["what"]
        body = await web.body_of(request, limit=LARGEST)
        answer = await asyncio.to_thread(self._answered, what, body)
        return Response(answer, media_type=MEDIA)

    def _answered(self, what: str, body: bytes) -> bytes:
        arrays, said = unpacked(body)
        work = {"add": _add, "search": _search, "get": _get, "delete": _delete, "about": _about}.get(what)
        if work is None:
            raise BadRequest(f"a shard is asked to add, search, get, delete or about, not {what[:40]!r}")
        space, dimension = said.get("space"), said.get("dimension")
        if not isinstance(space, str) or not re.match(MODEL, space):
            raise BadRequest("space must name a version of a model")
        if not isinstance(dimension, int) or not 1 <= dimension <= LONGEST:
            raise BadRequest(f"dimension must be a whole number from 1 to {LONGEST}")
        return work(self._spaces.make(space, dimension), arrays, said)


def _array(arrays: dict[str, Any], name: str, kind: str, *shape: int) -> Any:
    found = arrays.get(name)
    if found is None or found.dtype != np.dtype(kind) or found.ndim != len(shape):
        raise BadRequest(f"the array {name} is missing, or not of {kind} in {len(shape)} dimensions")
    if any(wanted not in (-1, there) for wanted, there in zip(shape, found.shape, strict=True)):
        raise BadRequest(f"the array {name} has the shape {found.shape}, not {shape}")
    return found


def _ids(arrays: dict[str, Any]) -> Any:
    ids = _array(arrays, "ids", "<i8", -1)
    if len(ids) and (ids.min() < 0 or ids.max() >= HIGHEST):
        raise BadRequest(f"ids are from 0 to {HIGHEST - 1}")
    return ids


def _finite(array: Any) -> Any:
    if not np.isfinite(array).all():
        raise BadRequest("vectors hold numbers that are not finite")
    return array


def _add(index: VectorIndex, arrays: dict[str, Any], _said: dict[str, Any]) -> bytes:
    ids = _ids(arrays)
    if len(np.unique(ids)) != len(ids):
        raise BadRequest("an id is there twice")
    index.add(ids, _finite(_array(arrays, "vectors", "<f4", len(ids), index.dimension)))
    return packed({})


def _search(index: VectorIndex, arrays: dict[str, Any], said: dict[str, Any]) -> bytes:
    queries, k = _finite(_array(arrays, "queries", "<f4", -1, index.dimension)), said.get("k")
    if not isinstance(k, int) or not 1 <= k <= MOST_FOUND or len(queries) > QUERIES:
        raise BadRequest(f"k must be from 1 to {MOST_FOUND}, and queries {QUERIES} at most")
    among = IdSet(_array(arrays, "among", "|u1", -1)) if "among" in arrays else None
    found: Found = index.search(queries, k, among)
    return packed({"ids": found.ids, "scores": found.scores})


def _get(index: VectorIndex, arrays: dict[str, Any], _said: dict[str, Any]) -> bytes:
    vectors, known = index.get(_ids(arrays))
    return packed({"vectors": vectors, "known": known})


def _delete(index: VectorIndex, arrays: dict[str, Any], _said: dict[str, Any]) -> bytes:
    return packed({}, count=index.delete(_ids(arrays)))


def _about(index: VectorIndex, _arrays: dict[str, Any], _said: dict[str, Any]) -> bytes:
    return packed({}, **index.about())


def operations() -> Operations:
    """What is served to other cell indexes."""
    return {
        "POST /api/v1/vectors/{what}": Operation(
            "Keep and find vectors for another cell index; for our own services",
            {200: Answer("Arrays.", Content({}, MEDIA)), **UNREADABLE, **AWAY, **FULL, 409: error("It is in use.")},
            (Parameter("what", {"enum": ["add", "search", "get", "delete", "about"]}, place="path", required=True),),
            body=Content({"type": "string", "format": "binary"}, MEDIA, "A line of JSON, then the arrays it names."),
        )
    }
