"""Puts the caller's word into each request."""

from collections.abc import Callable, Generator

import httpx


class Bearer(httpx.Auth):
    """``Authorization: Bearer`` (RFC 6750), with the word of the moment; none while there is none."""

    def __init__(self, word: Callable[[], str]) -> None:
        self._word = word

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Decides without I/O."""
        if word := self._word():
            request.headers["Authorization"] = f"Bearer {word}"
        yield request
