"""The rules of resumable transfer, for both ends: no I/O, only headers in and decisions out.

Sources: tus 1.0.0 (core, creation, creation-with-upload, checksum, termination, expiration), RFC 9110 section 14
(ranges), RFC 9530 (digest fields). All offsets and lengths are bytes.
"""

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from contracts.errors import AppError, BadRequest, Conflict, Full, NotFound, Rejected, Unavailable, error_of, told_after

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,checksum,termination,expiration"
ALGORITHMS = ("crc32", "sha256", "sha1", "md5")
"""Checksums of a single request; the fastest first. The whole file always has its SHA-256 besides."""
CHUNK = 8 * 2**20
"""Bytes in one request: what a cut can cost."""
LEAST_CHUNK = 64 * 2**10
"""A line that cuts again and again gets smaller chunks, but none smaller than this (bytes)."""
MEDIA_TYPE = "application/offset+octet-stream"


class VersionMismatch(AppError):
    """The client speaks another version of tus."""

    status = 412


class WrongMediaType(AppError):
    """The body is not announced as part of an upload."""

    status = 415


class TooLong(AppError):
    """More bytes than the upload was created for."""

    status = 413


class Unsatisfiable(AppError):
    """No byte of the file lies in the range asked for."""

    status = 416


class Busy(AppError):
    """Another request is writing to this upload."""

    status = 423
    retry = True


class ChecksumMismatch(AppError):
    """What arrived is not what was sent; it was thrown away."""

    status = 460


class Hash(Protocol):
    """The part of hashlib's objects that is needed here."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


@dataclass(frozen=True)
class Checksum:
    """What a request's body must hash to."""

    algorithm: str
    digest: bytes

    def __str__(self) -> str:
        return f"{self.algorithm} {base64.b64encode(self.digest).decode()}"


def new_hash(algorithm: str) -> Hash:
    """A hash to be fed. Raises ``BadRequest`` for an algorithm that is not offered."""
    if algorithm not in ALGORITHMS:
        raise BadRequest(f"checksum algorithm {algorithm!r} is not one of {', '.join(ALGORITHMS)}")
    return _Crc32() if algorithm == "crc32" else hashlib.new(algorithm, usedforsecurity=False)


def checksum_of(algorithm: str, body: bytes | memoryview) -> Checksum:
    """The checksum to send along with a body."""
    fed = new_hash(algorithm)
    fed.update(body)
    return Checksum(algorithm, fed.digest())


def parse_checksum(text: str) -> Checksum:
    """``Upload-Checksum``. Raises ``BadRequest`` when it is malformed or of an unknown algorithm."""
    algorithm, _, digest = text.strip().partition(" ")
    expected = len(new_hash(algorithm).digest())
    found = _from_base64(digest, "Upload-Checksum")
    if len(found) != expected:
        raise BadRequest(f"Upload-Checksum: {algorithm} has {expected} bytes, not {len(found)}")
    return Checksum(algorithm, found)


def format_metadata(values: Mapping[str, str]) -> str:
    """``Upload-Metadata``: any text can be a value, even a file name that is not UTF-8."""
    coded = (
        (key, base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()) for key, value in values.items()
    )
    return ",".join(f"{key} {value}".rstrip() for key, value in coded)


def parse_metadata(text: str) -> dict[str, str]:
    """What ``format_metadata`` wrote. Raises ``BadRequest`` when it is malformed."""
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = pair.partition(" ")
        if key in found:
            raise BadRequest(f"Upload-Metadata names {key!r} twice")
        found[key] = _from_base64(value, "Upload-Metadata").decode("utf-8", "surrogateescape")
    return found


def _from_base64(text: str, header: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{header}: {text[:60]!r} is not base64") from None


def _number(headers: Mapping[str, str], header: str) -> int:
    text = headers.get(header, "")
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise BadRequest(f"{header} must be a number of bytes, not {text[:40]!r}")
    return int(text)


# What the receiver decides.


@dataclass(frozen=True)
class Creation:
    """A request for a new upload, possibly with its first bytes."""

    length: int
    metadata: Mapping[str, str]
    body: int | None
    """bytes that come along; None when that is not known beforehand"""
    checksum: Checksum | None


@dataclass(frozen=True)
class Patch:
    """A request to go on with an upload at ``offset``."""

    offset: int
    body: int | None
    checksum: Checksum | None


def check_version(headers: Mapping[str, str]) -> None:
    """Raises ``VersionMismatch`` unless the request is tus 1.0.0."""
    if headers.get("tus-resumable") != VERSION:
        raise VersionMismatch(f"this server speaks tus {VERSION}, not {headers.get('tus-resumable') or 'plain HTTP'}")


def judge_creation(headers: Mapping[str, str]) -> Creation:
    """What a POST asks for (header names in lower case). Raises what is wrong with it."""
    check_version(headers)
    if "upload-defer-length" in headers:
        raise BadRequest("the length must be known when an upload is created (Upload-Length)")
    length = _number(headers, "upload-length")
    metadata = parse_metadata(headers.get("upload-metadata", ""))
    body, checksum = _body(headers, length)
    if body != 0:
        _check_media_type(headers)
    return Creation(length, metadata, body, checksum)


def judge_patch(headers: Mapping[str, str], good: int, length: int) -> Patch:
    """What a PATCH asks for, when ``good`` of ``length`` bytes are there. Raises what is wrong with it."""
    check_version(headers)
    _check_media_type(headers)
    offset = _number(headers, "upload-offset")
    if offset != good:
        raise Conflict(f"the upload is at offset {good}, not {offset}")
    body, checksum = _body(headers, length - offset)
    return Patch(offset, body, checksum)


def _check_media_type(headers: Mapping[str, str]) -> None:
    found = headers.get("content-type", "")
    if found.partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise WrongMediaType(f"Content-Type must be {MEDIA_TYPE}, not {found or 'missing'}")


def _body(headers: Mapping[str, str], room: int) -> tuple[int | None, Checksum | None]:
    size: int | None = None
    if "content-length" in headers:
        size = _number(headers, "content-length")
    elif "transfer-encoding" not in headers:
        size = 0
    if size is not None and size > room:
        raise TooLong(f"{size} bytes are too many: the upload lacks {room}")
    given = headers.get("upload-checksum")
    return size, parse_checksum(given) if given is not None else None


def kept(offset: int, received: int, *, complete: bool, checksum_fits: bool | None) -> int:
    """How far the upload is good after a request brought ``received`` bytes at ``offset``.

    Without a checksum (None) all that arrived counts; with one, only a complete body that fits it.
    """
    if checksum_fits is None or (complete and checksum_fits):
        return offset + received
    return offset


# What the sender decides.


@dataclass(frozen=True)
class GoOn:
    """Send the bytes from this offset on (all sent when it is the length)."""

    offset: int


@dataclass(frozen=True)
class Ask:
    """Ask the receiver how far it has come; ``corrupted`` when it found a checksum wrong."""

    corrupted: bool = False


@dataclass(frozen=True)
class Restart:
    """The receiver knows nothing of this upload (any more): create it again; ``corrupted`` as above."""

    corrupted: bool = False


@dataclass(frozen=True)
class GiveUp:
    """Nothing more can be done now; the error says whether a later try may help."""

    error: AppError


Step = GoOn | Ask | Restart | GiveUp


def after(verb: str, status: int, headers: Mapping[str, str], text: str, length: int) -> Step:
    """What a sender does after an answer to ``POST``, ``HEAD`` or ``PATCH`` (header names in lower case)."""
    if status in (200, 201, 204):
        return _offset_in(verb, headers, length)
    if status == 460:
        return Restart(corrupted=True) if verb == "POST" else Ask(corrupted=True)
    if verb != "POST" and status in (404, 410):
        return Restart()
    if verb == "PATCH" and status == 409:
        return Ask()
    return GiveUp(_error(status, text, told_after(headers)))


def _offset_in(verb: str, headers: Mapping[str, str], length: int) -> Step:
    found = headers.get("upload-offset", "0" if verb == "POST" else "")
    if not re.fullmatch(r"[0-9]{1,18}", found) or int(found) > length:
        return GiveUp(Unavailable(f"the receiver answered with the offset {found!r} of {length}"))
    return GoOn(int(found))


def _error(status: int, text: str, after: float | None) -> AppError:
    words = text.strip() or f"the receiver answered {status}"
    if status in (408, Busy.status):
        return Unavailable(words)
    found = error_of(status, words, after)
    if found.retry or isinstance(found, NotFound | Conflict | Full):
        return found
    return Rejected(words)


def smaller(chunk: int) -> int:
    """The chunk size after a cut that let nothing through (bytes)."""
    return max(min(chunk, LEAST_CHUNK), chunk // 4)
