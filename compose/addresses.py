"""What can be told of a host or a URL by looking at it."""

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_confidential(url: str) -> bool:
    """Whether nobody between can read what is sent there: by TLS, or because it stays on this computer."""
    try:
        there = urlsplit(url)
        host = there.hostname or ""
    except ValueError:
        return False
    return bool(host) and (there.scheme == "https" or (there.scheme == "http" and is_loopback(host)))
