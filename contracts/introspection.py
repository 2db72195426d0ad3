"""Services that have no database ask the job repository whose word it is that they hear."""

import time
from collections.abc import Callable
from dataclasses import asdict

import httpx

from contracts.client import call
from contracts.guard import Entry
from contracts.identity import WORDS, Identity, Role, digest_of

SECONDS = 5.0
"""So long an answer is believed; a word that was revoked is refused everywhere after that."""
MOST = 10_000
"""Answers that are remembered."""


class AskedAuthenticator:
    """Implements ``contracts.identity.Authenticator``. The client's ``base_url`` is the job repository, and it
    carries a service's word."""

    def __init__(self, client: httpx.AsyncClient, now: Callable[[], float] = time.monotonic) -> None:
        self._client, self._now = client, now
        self._known: dict[str, tuple[float, Identity | None]] = {}

    async def identify(self, word: str) -> Identity | None:
        """Whose word it is, as it was known some seconds ago at most. Raises ``Unavailable``."""
        if not word.startswith(WORDS):
            return None
        key, now = digest_of(word), self._now()
        until, identity = self._known.get(key, (0.0, None))
        if until > now:
            return identity
        found = (await call(self._client, "POST", "/api/v1/introspect", json={"Word": word})).json()
        identity = Identity(found["Name"], Role(found["Role"]), session=found["Session"]) if found else None
        self._known.pop(key, None)
        self._known[key] = (now + SECONDS, identity)
        while len(self._known) > MOST:
            self._known.pop(next(iter(self._known)))
        return identity


class AskedAuditor:
    """Implements ``contracts.guard.Auditor`` by the job repository."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def record(self, entry: Entry) -> None:
        """Kept when it returns. Raises ``Unavailable``."""
        body = {name.title(): str(value) for name, value in asdict(entry).items()}
        await call(self._client, "POST", "/api/v1/audit", json=body)
