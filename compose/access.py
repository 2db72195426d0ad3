"""How the parts of a deployment come at each other: secrets, certificates, words, clients."""

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import httpx

from compose.secrets import gateway_secret
from compose.settings import Settings, address
from contracts.bearer import Bearer
from contracts.client import TIMEOUT
from contracts.correlation import HEADER, correlation
from contracts.guard import Auditor, Watch
from contracts.hosting import PORTS, Door
from contracts.identity import Authenticator, service_word


async def _stamp(request: httpx.Request) -> None:
    """Requests about one job say which."""
    if job_id := correlation.get():
        request.headers[HEADER] = job_id


STAMPED = {"request": [_stamp]}


@dataclass(frozen=True)
class Access:
    """What one process has of its deployment's security. ``trust`` is how it checks others' certificates."""

    settings: Settings
    secret: bytes = b""
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None
    trust: ssl.SSLContext | bool = True
    word: Callable[[], str] = field(default=lambda: "")

    def door(self, authenticator: Authenticator | None = None, auditor: Auditor | None = None) -> Door:
        """For those who come in."""
        origins = self.settings.security.allowed_origins
        watch = Watch(self.secret, authenticator, auditor, origins, (self.settings.published_on,))
        return Door(watch, self.certificate, self.key, self.settings.security.tls == "proxy")

    def over_network(self, base: str) -> Callable[[str], httpx.AsyncClient]:
        """Makes clients for services of another process."""

        def client(service: str) -> httpx.AsyncClient:
            where = address(base, service, PORTS[service] + max(self.settings.port_offset, 0))
            return self.client(where, httpx.Limits(max_connections=32, max_keepalive_connections=8))

        return client

    def client(
        self, where: str, limits: httpx.Limits | None = None, timeout: httpx.Timeout = TIMEOUT
    ) -> httpx.AsyncClient:
        """A client that says who we are."""
        return httpx.AsyncClient(
            base_url=where,
            timeout=timeout,
            limits=limits or httpx.Limits(),
            event_hooks=STAMPED,
            auth=Bearer(self.word),
            verify=self.trust,
        )


def access(settings: Settings, name: str, *, make: bool = True) -> Access:
    """That of a process of the gateway's side, or of a command beside it. What is missing is made at the first start.

    Raises ``ValueError`` or ``OSError`` saying what is wrong with a secret or certificate that was named.
    """
    mine = settings.security
    secret = gateway_secret(settings, make=make)
    certificate, key, authority = mine.certificate, mine.key, mine.authority
    if settings.with_tls() and certificate is None:
        certificate, key, ours = _own(settings) if make else (None, None, settings.tls_folder() / "authority.pem")
        authority = authority or ours

    def word() -> str:
        return service_word(secret, name, time.time()) if secret else ""

    return Access(settings, secret, certificate, key, authority, trust(authority), word)


def trust(authority: Path | None) -> ssl.SSLContext | bool:
    """How certificates are checked: by this root, or by the system's. Raises ``ValueError``."""
    if authority is None or not authority.is_file():
        return _systems()
    try:
        return ssl.create_default_context(cafile=str(authority))
    except ssl.SSLError as error:
        raise ValueError(f"{authority} holds no certificate in PEM form: {error}") from None


@cache
def _systems() -> ssl.SSLContext:
    """The same for all clients: to read a hundred roots for each takes a part of the start."""
    return httpx.create_ssl_context()


def _own(settings: Settings) -> tuple[Path, Path, Path]:
    from compose.certificates import certificates

    names = {*settings.security.names, settings.published_on} - {"", "0.0.0.0", "::"}
    found = certificates(settings.tls_folder(), names)
    return found.certificate, found.key, found.authority
