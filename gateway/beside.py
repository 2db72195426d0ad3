"""Routes that one service serves for others."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

from starlette.routing import BaseRoute

from contracts.openapi import Operation, Operations


class Beside(Protocol):
    """Routes, their description, and what runs beside them."""

    def running(self) -> AbstractAsyncContextManager[None]: ...

    def routes(self) -> list[BaseRoute]: ...

    def operations(self) -> Operations: ...


class Together:
    """Several as one."""

    def __init__(self, *all_: Beside) -> None:
        self._all = all_

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All run while the context is open."""
        async with AsyncExitStack() as stack:
            for one in self._all:
                await stack.enter_async_context(one.running())
            yield

    def routes(self) -> list[BaseRoute]:
        return [route for one in self._all for route in one.routes()]

    def operations(self) -> Operations:
        """The routes, described."""
        found: dict[str, Operation] = {}
        for one in self._all:
            described: Mapping[str, Operation] = one.operations()
            found.update(described)
        return found
