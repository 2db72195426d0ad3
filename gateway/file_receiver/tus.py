"""What all answers of the upload protocol (tus 1.0.0) have in common."""

import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from starlette.requests import Request
from starlette.responses import Response

from contracts import transfer, web
from contracts.errors import AppError
from gateway.file_receiver.store import Part

DAY = 86_400.0
Act = Callable[[Request], Awaitable[Response]]


async def answered(request: Request, act: Act, *, versioned: bool = True) -> Response:
    """What ``act`` answers; answers and errors alike bear the protocol's headers. ``versioned``: whoever asks must say
    by which version of it."""
    try:
        if versioned:
            transfer.check_version(request.headers)
        response = await act(request)
    except AppError as error:
        response = await web.on_app_error(request, error)
        response.headers["Tus-Version"] = transfer.VERSION
    response.headers["Tus-Resumable"] = transfer.VERSION
    response.headers["Cache-Control"] = "no-store"
    return response


def progress(part: Part, days: float) -> dict[str, str]:
    """How far an upload is, and, while it is not whole, when it expires."""
    headers = {"Upload-Offset": str(part.offset), "Upload-Length": str(part.upload.length)}
    if not part.full:
        headers["Upload-Expires"] = formatdate(time.time() + days * DAY, usegmt=True)
    return headers
