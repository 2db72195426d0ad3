"""Requests over one stream of gRPC: many under way at once, without a call for each.

Triton takes any model so; OpenVINO Model Server only its graphs, and refuses others.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc

from pipelines.backends.patience import NoAnswer

log = logging.getLogger(__name__)
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class AskAlone(Exception):
    """The stream cannot say whether this request is wrong, or another that was under way: it is to be asked by itself.

    ``for_good``: the server takes no streams.
    """

    def __init__(self, text: str, for_good: bool = False) -> None:
        super().__init__(text)
        self.for_good = for_good


class Stream:
    """One stream of a ``tritonclient`` connection, opened when it is wanted, and anew when it has ended."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._requests: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._reader: asyncio.Task[None] | None = None

    async def infer(self, request: dict[str, Any]) -> Any:
        """The result of a request as ``stream_infer`` takes it. Raises ``NoAnswer`` or ``AskAlone``."""
        if self._reader is None or self._reader.done():
            self._requests = asyncio.Queue()
            self._reader = asyncio.create_task(self._read(_until_none(self._requests)), name="answers of a stream")
        number = str(next(self._numbers))
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._requests.put_nowait(request | {"request_id": number})
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    async def close(self) -> None:
        """End it; whoever still waits gets ``NoAnswer``."""
        if self._reader is not None:
            self._requests.put_nowait(None)
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
            self._reader = None

    async def _read(self, requests: AsyncIterator[dict[str, Any]]) -> None:
        why: Exception = NoAnswer("the stream has ended")
        answers: Any = None
        try:
            answers = self._client.stream_infer(requests)
            async for result, error in answers:
                if error is not None:  # without the request's number
                    self._fail(AskAlone(str(error)))
                else:
                    self._tell(result)
        except grpc.RpcError as error:
            text = error.details() or str(error.code())
            taken = error.code() in GONE
            why = NoAnswer(text) if taken else AskAlone(text, error.code() is grpc.StatusCode.UNIMPLEMENTED)
        finally:
            self._fail(why)
            if answers is not None:
                answers.cancel()

    def _tell(self, result: Any) -> None:
        answer = self._waiting.get(result.get_response().id)
        if answer is not None and not answer.done():
            answer.set_result(result)

    def _fail(self, why: Exception) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(why)


async def _until_none(queue: "asyncio.Queue[dict[str, Any] | None]") -> AsyncIterator[dict[str, Any]]:
    while (one := await queue.get()) is not None:
        yield one
