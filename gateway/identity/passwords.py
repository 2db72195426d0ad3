"""Passwords: hashed by argon2id (RFC 9106), checked slowly, and slower after wrong ones."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from contracts.errors import BadRequest, Throttled
from contracts.identity import Identity
from gateway.identity.store import IdentityStore

SHORTEST, LONGEST = 10, 1000
"""Characters of a password."""
FREE_TRIES = 5
"""Wrong passwords of an address before the next one has to wait."""
LONGEST_WAIT = 300.0
"""Seconds."""
NAME_TRIES, NAME_WAIT = 50, 30.0
"""The same of all addresses together for one name: more, and shorter (s), for they may be anybody's. Nobody waits so
at an address from which that user has come in before."""
REMEMBERED = 30_000
"""Names and addresses of which wrong tries are counted, or right ones remembered."""
HASHER = PasswordHasher()
NOBODYS = "$argon2id$v=19$m=65536,t=3,p=4$8BlhwUoFjwkgPqSUVwH69Q$sKwvYA6mLiTz8g7OBDzqZapnQkRe37kclIqpTaixrLs"
"""Of a word that nobody has kept; written down, as to make one takes a part of each start."""


def hashed(password: str) -> str:
    """The hash that is kept. Raises ``BadRequest`` for a password that is too short to be one."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise BadRequest(f"a password has {SHORTEST} to {LONGEST} characters, this one has {len(password)}")
    return HASHER.hash(password)


def is_right(kept: str, password: str) -> bool:
    """Whether it is the password; takes its time also where there is none."""
    try:
        return HASHER.verify(kept or NOBODYS, password[: LONGEST + 1]) and bool(kept)
    except (VerifyMismatchError, InvalidHashError):
        return False


@dataclass(frozen=True)
class Tries:
    """Wrong ones in a row, and until when the next has to wait (s)."""

    wrong: int = 0
    until: float = 0.0


def after_wrong(tries: Tries, now: float, free: int = FREE_TRIES, longest: float = LONGEST_WAIT) -> Tries:
    """The pause doubles with each wrong try beyond the free ones."""
    wrong = tries.wrong + 1
    pause = min(longest, 2.0 ** min(wrong - free, 60)) if wrong >= free else 0.0
    return Tries(wrong, now + pause)


class PasswordLogins:
    """Checks names and passwords. Two are checked at once at most: each takes much memory and time."""

    def __init__(self, store: IdentityStore, now: Callable[[], float] = time.monotonic) -> None:
        self._store, self._now = store, now
        self._tries: dict[tuple[str, str], Tries] = {}
        self._came_from: dict[tuple[str, str], None] = {}
        self._few = asyncio.Semaphore(2)

    async def log_in(self, name: str, password: str, address: str) -> Identity | None:
        """Who it is. Raises ``Throttled`` after wrong passwords from an address, or very many for a name."""
        name = name[:200]
        keys = ((name, address), ("", address), (name, ""))  # of an address also by name: its own user may come in
        self._check_wait(keys)
        known = await self._store.account(name)
        async with self._few:
            self._check_wait(keys)  # of those who came at once, the first may have been wrong meanwhile
            right = await asyncio.to_thread(is_right, known.password if known else "", password)
            good = known is not None and right
            for key in keys:
                tries = self._tries.pop(key, Tries())
                if not good:
                    self._tries[key] = after_wrong(tries, self._now(), *(() if key[1] else (NAME_TRIES, NAME_WAIT)))
            if good:
                self._came_from.pop((name, address), None)
                self._came_from[name, address] = None
        for kept in (self._tries, self._came_from):
            while len(kept) > REMEMBERED:
                kept.pop(next(iter(kept)))
        return Identity(known.name, known.role) if known is not None and good else None

    def _check_wait(self, keys: tuple[tuple[str, str], ...]) -> None:
        keys = keys[:2] if keys[0] in self._came_from else keys
        wait = max(self._tries.get(key, Tries()).until for key in keys) - self._now()
        if wait > 0:
            error = Throttled(f"too many wrong passwords: try again in {wait:.0f} s")
            error.after = wait
            raise error
