"""An instrument's membership of a gateway: how it comes in, the word by which it is known, and how that is renewed."""

import asyncio
import contextlib
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from contracts.client import TIMEOUT, call
from contracts.errors import AppError, BadRequest, Conflict, Forbidden, Unavailable
from contracts.guard import is_near
from contracts.identity import EDGE, digest_of, new_word
from contracts.private import keep

log = logging.getLogger(__name__)
RENEW_DAYS = 30
"""A word is replaced when it is so old."""
LOOK_SECONDS = 3600.0


@dataclass(frozen=True)
class Membership:
    """What an instrument keeps of its gateway. ``authority`` is the PEM of the root that it trusts, '' for the
    system's; ``next`` is a word that may be good already, or not yet."""

    gateway: str
    name: str
    word: str
    since: float
    authority: str = ""
    next: str = ""

    def trust(self) -> ssl.SSLContext:
        """By which the gateway's certificate is checked."""
        return ssl.create_default_context(cadata=self.authority or None)


def read(path: Path) -> Membership | None:
    """The membership kept in a file; None when there is none. Raises ``BadRequest`` for one that cannot be read."""
    try:
        return Membership(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise BadRequest(f"{path} cannot be read ({error}): enrol this instrument anew (cytobus enroll)") from None


def write(path: Path, membership: Membership) -> None:
    """On disk when it returns, and readable for its owner only."""
    keep(path, json.dumps(asdict(membership)).encode())


async def enrol(path: Path, gateway: str, url: str, code: str, *, as_new: bool = False) -> Membership:
    """Become a member of a gateway, whose job repository is at ``url``, by a code from its administrator. It may be
    repeated with the same code if it fails midway.

    The code ends with the fingerprint of the gateway's own authority, if it has one: so nobody between the two can
    pretend to be the gateway. Under another name than before only ``as_new``: jobs belong to a name. Raises
    ``Forbidden``, ``BadRequest``, ``Conflict``, ``Unavailable``.
    """
    there = urlsplit(url)
    if there.scheme not in ("http", "https") or not there.hostname:
        raise BadRequest(f"{gateway!r} is no address of a gateway, such as https://gateway.lab")
    if there.scheme == "http" and not _is_here(there.hostname):
        raise BadRequest(f"{gateway} is not protected by TLS: use https://{there.hostname}")
    secret, _, mark = code.strip().partition("#")
    authority = await _authority(url, mark) if mark else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    # By its code: a word belongs to the first code by which it was asked for, and may be revoked since.
    aside = path.with_name(f"{path.stem}.{digest_of(secret)[:16]}.new")
    begun = read(aside)
    word = begun.word if begun is not None and begun.gateway == gateway else new_word(EDGE)
    started = Membership(gateway, "", word, time.time(), authority)
    write(aside, started)  # the answer may be lost: then the same word is asked for again
    body = {"Code": secret, "Digest": digest_of(started.word)}
    async with httpx.AsyncClient(base_url=url, verify=started.trust(), timeout=TIMEOUT) as client:
        answer = (await call(client, "POST", "/api/v1/enrolments/redeem", json=body)).json()
    member = replace(started, name=str(answer["Name"]))
    if (former := _name_kept(path)) not in ("", member.name) and not as_new:
        raise Conflict(
            f"this instrument was enrolled as {former}, and the code is for {member.name}: jobs of {former} that are on"
            f" their way would not be served here any more. Ask for a code for {former} (cytobus edges invite"
            f" {former}), or, once none of its jobs is open, enrol as {member.name} with the same code and --as-new"
        )
    write(path, member)
    for begun_once in path.parent.glob(f"{path.stem}*.new"):
        begun_once.unlink(missing_ok=True)
    return member


def _name_kept(path: Path) -> str:
    """Under which name this instrument was enrolled before; empty where that is not known."""
    try:
        kept = read(path)
    except BadRequest:
        return ""
    return kept.name if kept is not None else ""


def _is_here(host: str) -> bool:
    """This computer alone: a name without a domain may be any host of the laboratory."""
    return host == "localhost" or (("." in host or ":" in host) and is_near(host))


async def _authority(url: str, mark: str) -> str:
    """The gateway's root, fetched from whoever answers there and believed for its fingerprint alone."""
    async with httpx.AsyncClient(base_url=url, verify=False, timeout=TIMEOUT) as client:
        pem = (await call(client, "GET", "/api/v1/authority")).text
    try:
        root = ssl.PEM_cert_to_DER_cert(pem.strip())
    except ValueError:
        root = b""
    if len(mark) < 32 or not sha256(root).hexdigest().startswith(mark.lower()):
        raise Forbidden(f"who answers at {url} is not the gateway that this code was made by")
    # Nothing but what was compared: decoding stops at the first certificate's end, trust would take all that follow.
    return ssl.DER_cert_to_PEM_cert(root)


class Member:
    """The word of the moment, kept in a file and renewed in time."""

    def __init__(self, path: Path, membership: Membership, now: Callable[[], float] = time.time) -> None:
        self._path, self.membership, self._now = path, membership, now

    def word(self) -> str:
        """By which the gateway knows us."""
        return self.membership.word

    @asynccontextmanager
    async def running(self, client: httpx.AsyncClient) -> AsyncIterator[None]:
        """Renews the word while the context is open; ``client`` speaks to the job repository with it."""
        stop = asyncio.Event()
        task = asyncio.create_task(self._look(client, stop), name="renewal of the edge's word")
        try:
            yield
        finally:
            stop.set()
            await task

    async def _look(self, client: httpx.AsyncClient, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                if self.membership.next or self._now() - self.membership.since > RENEW_DAYS * 86_400:
                    await self.renew(client)
            except AppError as error:
                log.warning("this instrument's word could not be renewed; the old one is good still: %s", error)
            except OSError as error:
                log.warning("this instrument's next word cannot be kept: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await stop.wait()

    async def renew(self, client: httpx.AsyncClient) -> None:
        """The next word is kept before the gateway hears of it, and used only once the gateway has agreed."""
        if not self.membership.next:
            self.membership = replace(self.membership, next=new_word(EDGE))
            await asyncio.to_thread(write, self._path, self.membership)
        coming = self.membership.next
        await call(client, "POST", "/api/v1/tokens/rotate", json={"Digest": digest_of(coming)})
        renewed = replace(self.membership, word=coming, next="", since=self._now())
        try:
            await asyncio.to_thread(write, self._path, renewed)
        except OSError as error:
            raise Unavailable(f"the next word cannot be kept in {self._path}: {error}") from error
        self.membership = renewed
