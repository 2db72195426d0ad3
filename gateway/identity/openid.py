"""An OpenID provider as its client sees it: where people log in, and what it says of them for the code they bring back.

OpenID Connect Core 1.0 and Discovery 1.0; OAuth 2.0 (RFC 6749) with PKCE (RFC 7636).
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry
from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.errors import Unauthorized, Unavailable
from contracts.ports import Clock

ALGORITHMS = [f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)]
"""Of signatures that only the provider can make: no ``none``, and none by a secret that we know too."""
KEEP = 3600 * 10**9
"""ns; so long what the provider says of itself is believed without asking again."""
SKEW_SECONDS = 60
"""So far its clock may be from ours."""
TIMEOUT = httpx.Timeout(10.0)


@dataclass(frozen=True)
class Client:
    """This gateway, as it is registered with the provider. Without a ``secret`` it is a public client."""

    issuer: str
    client_id: str
    secret: str = field(repr=False)
    redirect_uri: str
    scopes: tuple[str, ...] = ("openid", "profile")


class Discovery(BaseModel):
    """What a provider says of itself, as far as we need it."""

    model_config = ConfigDict(frozen=True)

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class OpenIdProvider:
    """One provider. All raise ``Unavailable`` when it does not answer, or not as a provider does."""

    def __init__(self, client: Client, clock: Clock, trust: ssl.SSLContext | bool = True) -> None:
        """``clock`` in ns since the epoch; ``trust`` is how its certificate is checked."""
        self.client, self._clock, self._trust = client, clock, trust
        self._found: tuple[int, Discovery] | None = None
        self._keys: tuple[int, KeySet] | None = None

    async def login_url(self, state: str, nonce: str, verifier: str) -> str:
        """Where a browser is sent to log in."""
        found, mine = await self._discovery(), self.client
        url: str = prepare_grant_uri(
            found.authorization_endpoint,
            client_id=mine.client_id,
            response_type="code",
            redirect_uri=mine.redirect_uri,
            scope=list(mine.scopes),
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return url

    async def claims(self, code: str, nonce: str, verifier: str) -> Mapping[str, Any]:
        """What the provider says of whoever brought the code. Raises ``Unauthorized`` when the code, or what is given
        for it, is not good."""
        token = await self._exchange(code, verifier)
        said = token.get("id_token")
        if not isinstance(said, str):
            raise Unauthorized(f"{self.client.issuer} sent no ID token")
        try:
            known = await self._verified(said)
            claims: Mapping[str, Any] = self._checked(known, nonce, token.get("access_token"))
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise Unauthorized(f"the ID token of {self.client.issuer} is not good: {error}") from None
        return claims

    def _checked(self, known: jwt.Token, nonce: str, access_token: object) -> CodeIDToken:
        mine = self.client
        claims = CodeIDToken(
            known.claims,
            known.header,
            {
                "iss": {"essential": True, "value": mine.issuer},
                "aud": {"essential": True, "value": mine.client_id},
                "sub": {"essential": True},
                "exp": {"essential": True},
            },
            {"nonce": nonce, "client_id": mine.client_id, "access_token": access_token},
        )
        claims.validate(now=self._clock() // 10**9, leeway=SKEW_SECONDS)
        if not isinstance(claims["sub"], str):
            raise ValueError("sub is no text")
        return claims

    async def _exchange(self, code: str, verifier: str) -> dict[str, Any]:
        found, mine = await self._discovery(), self.client
        ways = found.token_endpoint_auth_methods_supported
        way = "none" if not mine.secret else "client_secret_basic"
        name, secret = quote_plus(mine.client_id), quote_plus(mine.secret)  # RFC 6749, 2.3.1
        if mine.secret and "client_secret_basic" not in ways and "client_secret_post" in ways:
            way, name, secret = "client_secret_post", mine.client_id, mine.secret
        asked = prepare_token_request(
            "authorization_code", code=code, redirect_uri=mine.redirect_uri, code_verifier=verifier
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        auth = ClientAuth(name if way == "client_secret_basic" else mine.client_id, secret, way)
        url, headers, body = auth.prepare("POST", found.token_endpoint, headers, asked)
        answer = await self._ask("POST", url, content=body.encode(), headers=headers)
        told = self._read(answer)
        if answer.status_code == 200 and "error" not in told:
            return told
        problem = str(told.get("error", answer.status_code))[:100]
        if problem == "invalid_grant":
            raise Unauthorized(f"{mine.issuer} does not take this login (any more): log in again")
        raise Unavailable(
            f"{mine.issuer} does not answer this gateway ({problem}): are security.oidc.client_id, client_secret and"
            f" redirect_uri ({mine.redirect_uri}) as they were registered there?"
        )

    async def _verified(self, said: str) -> jwt.Token:
        """The token, if the provider has signed it. Its keys change: they are asked for anew by one not known."""
        registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
        fresh = self._keys is None or self._keys[0] + KEEP <= self._clock()
        try:
            return jwt.decode(said, await self._key_set(), registry=registry)
        except (InvalidKeyIdError, BadSignatureError):
            if fresh:
                raise
        self._keys = None
        return jwt.decode(said, await self._key_set(), registry=registry)

    async def _key_set(self) -> KeySet:
        if self._keys is None or self._keys[0] + KEEP <= self._clock():
            url = (await self._discovery()).jwks_uri
            told = self._read(await self._ask("GET", url))
            try:
                self._keys = self._clock(), KeySet.import_key_set(told)  # type: ignore[arg-type] # or it raises
            except (JoseError, ValueError, KeyError, TypeError) as error:
                raise Unavailable(f"the keys at {url} cannot be read: {error}") from None
        return self._keys[1]

    async def _discovery(self) -> Discovery:
        if self._found is None or self._found[0] + KEEP <= self._clock():
            url = f"{self.client.issuer.rstrip('/')}/.well-known/openid-configuration"
            try:
                found = Discovery.model_validate(self._read(await self._ask("GET", url)))
            except ValidationError as error:
                wrong = ", ".join(".".join(map(str, one["loc"])) for one in error.errors(include_url=False))
                raise Unavailable(f"what is at {url} is of no OpenID provider: {wrong}") from None
            self._found = self._clock(), self._fitting(found)
        return self._found[1]

    def _fitting(self, found: Discovery) -> Discovery:
        issuer = self.client.issuer
        if found.issuer != issuer:
            raise Unavailable(f"the provider at {issuer} calls itself {found.issuer}: set security.oidc.issuer to that")
        for url in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
            if urlsplit(url).scheme not in ("https", urlsplit(issuer).scheme):
                raise Unavailable(f"{issuer} names {url}, which others can read")
        return found

    async def _ask(self, method: str, url: str, **options: Any) -> httpx.Response:
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT, verify=self._trust) as client:
                answer = await client.request(method, url, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"the OpenID provider at {url} does not answer: {error or type(error).__name__}"
            ) from None
        if answer.status_code >= 500 or answer.status_code in (404, 429):
            raise Unavailable(f"the OpenID provider at {url} answers {answer.status_code}")
        return answer

    def _read(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            told = answer.json()
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise Unavailable(f"the OpenID provider at {answer.url} answers {answer.status_code}, and no JSON object")
        return told
