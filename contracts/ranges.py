"""Byte ranges and digests of HTTP messages (RFC 9110 section 14, RFC 9530), without I/O."""

import base64
import binascii
import hashlib
import re

from contracts.transfer import Unsatisfiable


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last that a ``Range`` asks of a file of ``size`` bytes.

    None when the whole file is to be sent: no range, several, or one that is malformed (RFC 9110 has all these
    ignored). Raises ``Unsatisfiable`` when no byte lies in it.
    """
    found = re.fullmatch(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", text, re.IGNORECASE)
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        start, stop = max(0, size - int(found[2])), size
    else:
        start, stop = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    if start >= stop:
        raise Unsatisfiable(f"no byte of {size} lies in {text.strip()}")
    return start, stop


def format_content_range(start: int, stop: int, size: int) -> str:
    """``Content-Range`` of a part that ends before ``stop``."""
    return f"bytes {start}-{stop - 1}/{size}"


def parse_content_range(text: str) -> tuple[int, int, int | None] | None:
    """First byte, the one after the last, and the size of the whole if it was told; None when malformed."""
    found = re.fullmatch(r"\s*bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\s*", text, re.IGNORECASE)
    if found is None:
        return None
    start, stop = int(found[1]), int(found[2]) + 1
    size = None if found[3] == "*" else int(found[3])
    return (start, stop, size) if start < stop and (size is None or stop <= size) else None


def format_digest(sha256: str) -> str:
    """``Repr-Digest`` or ``Content-Digest`` of a SHA-256 in hexadecimal."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def digest_of(body: bytes) -> str:
    """``Content-Digest`` of a body."""
    return format_digest(hashlib.sha256(body).hexdigest())


def arrived(body: bytes, told: str) -> bool:
    """Whether a body is the one that its ``Content-Digest`` was made of; True when none was told that we can read."""
    wanted = parse_digest(told)
    return not wanted or hashlib.sha256(body).hexdigest() == wanted


def parse_digest(text: str) -> str:
    """The SHA-256 in a digest field, in hexadecimal; empty when there is none."""
    found = re.search(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):", text)
    try:
        digest = base64.b64decode(found[1], validate=True) if found else b""
    except binascii.Error:
        return ""
    return digest.hex() if len(digest) == 32 else ""
