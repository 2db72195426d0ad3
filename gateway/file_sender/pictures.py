"""Shows a job's images in parts: what they are, tiles, thumbnails."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.disk import is_file
from contracts.errors import BadRequest, NotFound, Rejected
from contracts.models import Job
from gateway.file_sender.painter import Painter
from gateway.file_sender.places import check_kept, input_of, place_of
from gateway.files import GatewayFiles

T = TypeVar("T")
MOST = {"level": 24, "x": 2**20, "y": 2**20, "size": 1024, "channel": 63, "side": 1024}
"""What may be asked for at most."""
LEAST = {"size": 64, "side": 16}
USUAL = {"size": 256, "side": 256}
KEPT = {"Cache-Control": "private, max-age=600", "X-Content-Type-Options": "nosniff"}
SECONDS = 30.0
"""For one tile; the first of a large file without levels of its own reads all of it."""
MEMORY = 4 * 2**30


class Pictures:
    """The routes by which pages look at large images. Files are decoded in a process of its own, one at a time."""

    def __init__(self, job_of: Callable[[Request], Awaitable[Job]], files: GatewayFiles) -> None:
        """``job_of``: the job a request names, if whoever asks may see it."""
        self._job_of, self._files = job_of, files
        self._painter = Painter(seconds=SECONDS, memory_bytes=MEMORY)
        self._turn = asyncio.Lock()

    def routes(self) -> list[BaseRoute]:
        path = "/api/v1/pictures/{job_id}/{place}"
        return [
            Route(path, self.on_about, methods=["GET"]),
            Route(f"{path}/tiles", self.on_tile, methods=["GET"]),
            Route(f"{path}/thumbnail", self.on_thumbnail, methods=["GET"]),
        ]

    def close(self) -> None:
        """End the process that decodes."""
        self._painter.close()

    async def on_about(self, request: Request) -> Response:
        from gateway.file_sender.tiles import about

        return web.json(await self._ask(request, about), headers=web.NOT_CACHED)

    async def on_tile(self, request: Request) -> Response:
        from gateway.file_sender.tiles import Look, tile

        asked = request.query_params
        whole = {name: _whole(asked, name) for name in ("level", "x", "y", "size", "channel")}
        look = Look(**whole, low=_real(asked, "low"), high=_real(asked, "high"), labels=_yes(asked, "labels"))
        return _png(await self._ask(request, tile, look))

    async def on_thumbnail(self, request: Request) -> Response:
        from gateway.file_sender.tiles import thumbnail

        asked = request.query_params
        return _png(await self._ask(request, thumbnail, _whole(asked, "side"), _yes(asked, "labels")))

    async def _ask(self, request: Request, work: Callable[..., T], *more: object) -> T:
        """Raises ``Rejected`` for a file that cannot be shown."""
        path = self._path(await self._job_of(request), request.path_params["place"])
        async with self._turn:
            if await request.is_disconnected():
                raise BadRequest("nobody waits for it any more")
            try:
                return await asyncio.to_thread(self._painter.ask, work, path, *more)
            except ValueError as error:
                raise Rejected(str(error)) from None

    def _path(self, job: Job, place: str) -> Path:
        check_kept(job)
        if place == "input":
            path = input_of(job, self._files)
        else:
            outputs = job.pipeline_details.output_files or ()
            if not (place.isascii() and place.isdigit() and len(place) < 5 and int(place) < len(outputs)):
                raise NotFound(f"job {job.id} has {len(outputs)} output files; there is no {place[:40]!r}")
            path = place_of(job, outputs[int(place)], self._files)
        if not is_file(path):
            raise NotFound(f"{path.name} of job {job.id} is not in {path.parent}")
        return path


def _png(content: bytes) -> Response:
    return Response(content, media_type="image/png", headers=KEPT)


def _whole(asked: Mapping[str, str], name: str) -> int:
    least, most = LEAST.get(name, 0), MOST[name]
    said = asked.get(name, str(USUAL.get(name, 0)))
    if not (said.isascii() and said.isdigit() and len(said) < 9 and least <= int(said) <= most):
        raise BadRequest(f"{name} is {said[:40]!r}; it must be a whole number from {least} to {most}")
    return int(said)


def _real(asked: Mapping[str, str], name: str) -> float | None:
    if name not in asked:
        return None
    try:
        value = float(asked[name])
    except ValueError:
        raise BadRequest(f"{name} is {asked[name][:40]!r}; it must be a number") from None
    if not abs(value) < 1e30:
        raise BadRequest(f"{name} is out of all bounds")
    return value


def _yes(asked: Mapping[str, str], name: str) -> bool:
    said = asked.get(name, "false")
    if said not in ("true", "false"):
        raise BadRequest(f"{name} is {said[:40]!r}; it must be true or false")
    return said == "true"
