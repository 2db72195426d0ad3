"""Wires the dashboard: the services it asks, over the network, wherever they run."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from compose.access import STAMPED, Access
from compose.settings import address
from contracts.client import TIMEOUT
from gateway.dashboard.service import Dashboard
from gateway.dashboard.upstream import PASSED


@asynccontextmanager
async def dashboard(access: Access, ports: Mapping[str, int]) -> AsyncIterator[Dashboard]:
    """It never calls a service of its process directly: there nobody would be asked who they are."""
    settings = access.settings
    base = settings.inside(settings.gateway.inside)
    many = httpx.Limits(max_connections=100, max_keepalive_connections=20)
    async with AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=address(base, name, ports[name]),
                    timeout=TIMEOUT,
                    limits=many,
                    event_hooks=STAMPED,
                    verify=access.trust,
                )
            )
            for name in PASSED
        }
        where = address(base, "job-repository", ports["job-repository"])
        own = await stack.enter_async_context(access.client(where, many))
        yield Dashboard(clients, own, access.word)
