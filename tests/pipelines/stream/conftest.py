"""A stream on a real port."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from contracts.stream import PATH, Opening
from contracts.stream_client import StreamClient, streaming
from pipelines.stream.inference import Inference
from pipelines.stream.service import Limits, Stream
from tests.pipelines.stream.shades import SIDE, inference
from tests.support.serving import listening


class Scene:
    """A running stream, and how to come to it."""

    def __init__(self, service: Stream, port: int) -> None:
        self.service, self.engine, self.port = service, service.engine, port
        self.url = f"ws://127.0.0.1:{port}{PATH}"

    def opened(self, **opening: object) -> AbstractAsyncContextManager[StreamClient]:
        return streaming(self.url, Opening(**{"width": SIDE, "height": SIDE} | opening))


Opener = Callable[..., AbstractAsyncContextManager[Scene]]


@pytest.fixture
def scene() -> Opener:
    """Opens streams, with an inference and limits as a test wants them."""

    @asynccontextmanager
    async def opened(asked: Inference | None = None, **limits: object) -> AsyncIterator[Scene]:
        service = Stream(asked or inference(), Limits(**{"deadline_ms": 1.0} | limits))
        async with listening(service) as port:
            await service.ready()
            yield Scene(service, port)

    return opened
