"""Who asks: identities, their roles, and the signed words by which our own services and pipelines prove theirs.

A service's word and a pipeline's word are HMAC-SHA256 (RFC 2104) over what they say, under a secret that only the
gateway's services share; nobody has to be asked about them. Words of edges and users are random, and only their
SHA-256 is kept (``gateway.identity``).
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

SERVICE_SECONDS = 300
"""So long a service's word is good; each request bears a fresh one."""
SKEW_SECONDS = 300
"""So far the clocks of two hosts of one gateway may be apart."""
COMMAND = "command:"
"""So the names begin of those who use the command line where the secret lies: they are administrators."""
EDGE, USER, SESSION, SERVICE = "cbe_", "cbu_", "cbs_", "cbv_"
"""How words begin; who finds one in a log knows what has leaked."""
WORDS = (EDGE, USER, SESSION)
"""Those that are random; nothing else is looked up."""


class Role(StrEnum):
    """What somebody is; the first three are people's, each may what the one before may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    EDGE = "edge"
    SERVICE = "service"
    PIPELINE = "pipeline"


PEOPLE = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)


@dataclass(frozen=True)
class Identity:
    """Somebody who was recognised. ``name`` is the host of an edge, the job of a pipeline."""

    name: str
    role: Role
    launch: str = ""
    """Of a pipeline: which launch of the job its word is for."""
    session: bool = False
    """It came by a browser's cookie, which browsers also send when another site makes them."""

    @property
    def actor(self) -> str:
        """As histories and the audit name it."""
        return self.name if self.role in PEOPLE else f"{self.role} {self.name}"


class Authenticator(Protocol):
    """Knows edges and users by their words."""

    async def identify(self, word: str) -> Identity | None:
        """Whose word it is; None when nobody's (any more). Raises ``Unavailable`` where that cannot be known now."""
        ...


def new_word(prefix: str) -> str:
    """A fresh random word of 256 bits."""
    return prefix + secrets.token_urlsafe(32)


def digest_of(word: str) -> str:
    """What is kept of a random word: enough to know it again, nothing to use it by."""
    return hashlib.sha256(_bytes_of(word)).hexdigest()


def service_word(secret: bytes, name: str, now: float) -> str:
    """A service says who it is; good for some minutes (``now`` in seconds since the epoch)."""
    said = f"{name}~{int(now) + SERVICE_SECONDS}"
    return f"{SERVICE}{said}~{_mac(secret, 'service', said)}"


def service_of(secret: bytes, word: str, now: float) -> Identity | None:
    """The service, or the user of the command line, whose word it is; None when it is forged or too old."""
    said, _, mac = word.removeprefix(SERVICE).rpartition("~")
    name, _, until = said.rpartition("~")
    if not word.startswith(SERVICE) or not _is_mac(mac, secret, "service", said):
        return None
    if not until.isdigit() or now > int(until) + SKEW_SECONDS:
        return None
    user = name.removeprefix(COMMAND)
    return Identity(name, Role.SERVICE) if user == name else Identity(f"{user} (command)", Role.ADMIN)


def launch_word(secret: bytes, job_id: str, task_id: str, launch: str) -> str:
    """The word that rides in the URLs a pipeline is given: good for this job, this task and this launch only."""
    return f"{launch}~{_mac(secret, 'launch', job_id, task_id, launch)}"


def pipeline_of(secret: bytes, word: str, job_id: str, task_id: str) -> Identity | None:
    """The pipeline whose word it is; None when it was made for something else, or by somebody else."""
    launch, _, mac = word.rpartition("~")
    good = _is_mac(mac, secret, "launch", job_id, task_id, launch)
    return Identity(job_id, Role.PIPELINE, launch=launch) if good else None


def session_check(secret: bytes, session: str) -> str:
    """What a page has to say beside its session's cookie: another site can make a browser send the cookie, but
    cannot know this."""
    return _mac(secret, "csrf", session)


def _mac(secret: bytes, *parts: str) -> str:
    """Lengths go before the parts, so that no two lists of parts are one text."""
    coded = [_bytes_of(part) for part in parts]
    said = b"".join(len(part).to_bytes(4, "big") + part for part in coded)
    return base64.urlsafe_b64encode(hmac.digest(secret, said, "sha256")).decode().rstrip("=")


def _is_mac(mac: str, secret: bytes, *parts: str) -> bool:
    return same_text(mac, _mac(secret, *parts))


def same_text(one: str, other: str) -> bool:
    """Compared in a time that does not tell where they differ."""
    return hmac.compare_digest(_bytes_of(one), _bytes_of(other))


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # what comes from outside may hold anything
