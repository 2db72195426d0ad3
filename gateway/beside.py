"""Routes of several that are served beside a service of another name."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

from starlette.routing import BaseRoute

from contracts.openapi import Operations


class Beside(Protocol):
    """Routes of somebody else, their description, and what runs beside them."""

    def running(self) -> AbstractAsyncContextManager[None]: ...

    def routes(self) -> list[BaseRoute]: ...

    def operations(self) -> Operations: ...


class Still:
    """Routes alone: nothing runs beside them."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Nothing begins, and nothing ends."""
        yield


class Together:
    """Several as one. Routes of the first are tried first."""

    def __init__(self, *parts: Beside) -> None:
        self._parts = parts

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All run while the context is open."""
        async with AsyncExitStack() as stack:
            for part in self._parts:
                await stack.enter_async_context(part.running())
            yield

    def routes(self) -> list[BaseRoute]:
        return [route for part in self._parts for route in part.routes()]

    def operations(self) -> Operations:
        """The routes of all, described."""
        return {name: one for part in self._parts for name, one in part.operations().items()}
