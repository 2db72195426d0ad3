"""How much one client may ask for: token buckets by client, and the middleware that keeps to them."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts import web

MOST_CLIENTS = 10_000
"""So many clients are remembered; those longest silent are forgotten, their buckets are full again anyway."""
BURST = 2.0
"""Seconds of its rate that a client who was silent may ask for at once."""
UPLOADS = ("PATCH", "POST", "PUT")


@dataclass(frozen=True)
class Bucket:
    """Tokens flow in with ``rate`` a second, up to ``size``. What is taken beyond them is a debt."""

    rate: float
    size: float
    tokens: float
    at: float
    """When ``tokens`` was true (s)."""

    @classmethod
    def full(cls, rate: float, at: float) -> "Bucket":
        """For ``rate`` a second; a burst of one is possible whatever the rate."""
        size = max(1.0, rate * BURST)
        return cls(rate, size, size, at)

    def filled(self, at: float) -> "Bucket":
        """As it is at a time. A clock that was put back gives nothing."""
        tokens = min(self.size, self.tokens + max(0.0, at - self.at) * self.rate)
        return replace(self, tokens=tokens, at=at)

    def without(self, amount: float) -> "Bucket":
        """After so much was taken."""
        return replace(self, tokens=self.tokens - amount)

    def wait(self, amount: float) -> float:
        """Seconds until so much may be taken (at most what the bucket holds); 0: now."""
        lacking = min(amount, self.size) - self.tokens
        return max(0.0, lacking / self.rate)


class Limits:
    """Requests and uploaded bytes of each client. A client is the identity under which it came, else its address."""

    def __init__(
        self, requests: float = 0.0, upload_bytes: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Both a second; 0: no limit. ``clock`` tells seconds."""
        self._rates = {"requests": requests, "bytes": upload_bytes}
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()
        self.refused = 0

    def ask(self, client: str, *, upload: bool) -> tuple[float, str]:
        """Seconds that the client must wait, and for what; 0 when its request may pass, which is then counted."""
        wait, what = 0.0, ""
        for kind in ("requests", *(["bytes"] if upload else [])):
            bucket = self._bucket(client, kind)
            if bucket is not None and (lacking := bucket.wait(1.0)) > wait:
                wait, what = lacking, kind
        if wait:
            self.refused += 1
            return wait, what
        self.take(client, "requests", 1.0)
        return 0.0, ""

    def take(self, client: str, kind: str, amount: float) -> None:
        """So much has come; bytes are counted when they come, for nobody says beforehand how many will."""
        bucket = self._bucket(client, kind)
        if bucket is not None:
            self._buckets[client, kind] = bucket.without(amount)

    def _bucket(self, client: str, kind: str) -> Bucket | None:
        rate, now = self._rates[kind], self._clock()
        if not rate:
            return None
        bucket = self._buckets.get((client, kind), Bucket.full(rate, now)).filled(now)
        self._buckets[client, kind] = bucket
        self._buckets.move_to_end((client, kind))
        while len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return bucket


WORDS = {
    "requests": "too many requests (gateway.requests_per_second)",
    "bytes": "too many bytes (gateway.upload_mb_per_second)",
}


FREE = ("/api/v1/health", "/api/v1/ready", "/metrics")
"""Whoever watches over a service that is busy must get an answer."""


class Limited:
    """ASGI middleware: a client beyond its limits is answered 429 and told when to come back."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in FREE or is_service(scope):
            await self._app(scope, receive, send)
            return
        client, upload = client_of(scope), scope["method"] in UPLOADS
        wait, what = self._limits.ask(client, upload=upload)
        if wait:
            seconds = math.ceil(wait)
            response = web.error(f"{client}: {WORDS[what]}; come back in {seconds} s", 429)
            response.headers["Retry-After"] = str(seconds)
            await response(scope, receive, send)
            return

        async def counted() -> Message:
            message = await receive()
            if body := message.get("body"):
                self._limits.take(client, "bytes", len(body))
            return message

        await self._app(scope, counted if upload else receive, send)


def client_of(scope: Scope) -> str:
    """Who asks: the identity that an outer layer has found, else the address of the peer."""
    identity = scope.get("identity")
    return str(identity.actor) if identity else str((scope.get("client") or ("unknown",))[0])


def is_service(scope: Scope) -> bool:
    """Whether one of our own services asks, for itself or for somebody: what it passes on was limited where it came
    in."""
    identity = scope.get("identity")
    return bool(scope.get("passed_on")) or (identity is not None and identity.role == "service")
