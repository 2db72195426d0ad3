"""Wires logins at an OpenID provider."""

from typing import TYPE_CHECKING

from compose.access import Access, trust
from compose.addresses import is_loopback
from contracts.identity import Role
from contracts.ports import Clock
from gateway.identity.store import IdentityStore

if TYPE_CHECKING:
    from gateway.identity.oidc import OpenIdLogins

CALLBACK = "/api/v1/oidc/callback"


def logins(access: Access, store: IdentityStore, clock: Clock, port: int) -> "OpenIdLogins | None":
    """Where people log in at a provider. Nobody has to on a laptop, and then there is none.

    Raises ``ValueError`` saying what is missing for it.
    """
    mine = access.settings.security.oidc
    if not mine.issuer or not access.secret:
        return None
    try:
        from gateway.identity.oidc import Claims, OpenIdLogins
        from gateway.identity.openid import Client, OpenIdProvider
    except ModuleNotFoundError as error:
        raise ValueError(f"security.oidc needs the package {error.name}: pip install 'cytobus[oidc]'") from None
    client = Client(mine.issuer, mine.client_id, mine.secret(), _back(access, port), mine.scopes)
    claims = Claims(mine.name_claim, mine.role_claim, {value: Role(role) for value, role in mine.roles.items()})
    provider = OpenIdProvider(client, clock, trust(mine.authority))
    return OpenIdLogins(provider, claims, store, access.secret, clock)


def _back(access: Access, port: int) -> str:
    """Where the provider sends browsers back to."""
    settings = access.settings
    if settings.security.oidc.redirect_uri:
        return settings.security.oidc.redirect_uri
    host = settings.published_on or settings.host
    if host in ("0.0.0.0", "::"):
        raise ValueError("published_on is empty: say by which name browsers reach this gateway, or oidc.redirect_uri")
    shown = f"[{host}]" if ":" in host else host
    if settings.with_tls() or is_loopback(host):
        return f"{settings.scheme()}://{shown}:{port}{CALLBACK}"
    return f"https://{shown}{CALLBACK}"  # what is in front of us does TLS, on the usual port
