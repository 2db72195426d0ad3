"""Where HTTP/1.1 messages begin and end in a stream of bytes (RFC 9112), as far as a proxy must know."""

from collections.abc import Iterator
from dataclasses import dataclass

NO_BODY = (b"HTTP/1.1 204", b"HTTP/1.1 304", b"HTTP/1.1 1")


@dataclass(frozen=True)
class Piece:
    """Bytes as they go over the line."""

    data: bytes
    head: bool
    """whether they are a whole head (first line and headers), or bytes of a body"""
    last: bool
    """whether the message ends with them"""


class Framing:
    """Cuts one direction of a connection into heads and bodies. A body whose length is not told by its head goes on
    to the end of the connection, which is enough for peers that always tell it."""

    def __init__(self) -> None:
        self.first = b""
        """The first line of the present message."""
        self.bodiless = False
        """The next answer has no body, whatever its head says (it answers a HEAD)."""
        self._head = b""
        self._left = 0

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The pieces that are complete now."""
        while data:
            if self._left:
                body, data = data[: self._left], data[self._left :]
                self._left -= len(body)
                yield Piece(body, head=False, last=not self._left)
                continue
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._head, self.first = b"", head.split(b"\r\n", 1)[0]
            self._left = self._length(head)
            yield Piece(head + found, head=True, last=not self._left)

    def _length(self, head: bytes) -> int:
        if self.bodiless or head.startswith(NO_BODY):
            return 0
        lines = head.lower().split(b"\r\n")[1:]
        told = [line.partition(b":")[2].strip() for line in lines if line.startswith(b"content-length:")]
        if told and told[0].isdigit():
            return int(told[0])
        return 2**62 if b"transfer-encoding: chunked" in lines else 0
