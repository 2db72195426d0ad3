"""The gateway's secret."""

import secrets

from compose.settings import Settings
from contracts.private import keep_new

SHORTEST = 16
"""Characters of a secret that somebody chose."""


def gateway_secret(settings: Settings, *, make: bool = True) -> bytes:
    """What the gateway's services share; empty where nobody has to say who they are, or where there is none yet
    and none is to be made. Raises ``ValueError`` for one that is too short."""
    if not settings.secured():
        return b""
    mine = settings.security
    said = mine.secret or (mine.secret_file.read_text().strip() if mine.secret_file else "")
    if said or mine.secret_file:
        if len(said) < SHORTEST:
            raise ValueError(
                f"security.secret has {len(said)} characters: use {SHORTEST} or more, such as 32 random ones"
            )
        return said.encode()
    path = settings.data / "secret"
    if not path.is_file():
        if not make:
            return b""
        keep_new(path, secrets.token_hex(32).encode())
    kept = path.read_bytes().strip()
    if len(kept) < SHORTEST:
        # Without a secret nobody would have to say who they are.
        raise ValueError(f"{path} holds no secret: remove it to have a new one made, or put the old one back")
    return kept
