"""Tells an open page that what it shows has changed; what that is it fetches itself."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence, Set

from starlette.responses import Response, StreamingResponse

from contracts.models import Job
from gateway.dashboard.following import Following

STREAM = 60.0
"""Seconds that a stream lasts: its browser comes again, and is asked again who it is."""
APART = 0.5
"""Seconds between two pieces of news: what changes more often is told together."""
Concerns = Callable[[Sequence[Job], Set[str]], bool]
"""Whether changed and deleted jobs make a difference to a page."""


def streamed(following: Following, concerns: Concerns) -> Response:
    """A stream of events for one page."""
    return StreamingResponse(
        _news(following, concerns),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _news(following: Following, concerns: Concerns) -> AsyncIterator[str]:
    now = asyncio.get_running_loop().time
    until, away = now() + STREAM, False
    with following.listening() as listener:
        yield "retry: 1000\n\n"
        while not following.closed and now() < until:
            jobs, gone, reread = listener.take()
            if following.away and not away:
                yield 'data: {"away": "…"}\n\n'
            elif reread or away or concerns(jobs, gone):
                yield 'data: {"changed": true}\n\n'
                await asyncio.sleep(APART)
            away = bool(following.away)
            await listener.wait(5.0)
