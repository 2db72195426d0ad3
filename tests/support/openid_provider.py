"""An OpenID provider for tests: a stand-in for a laboratory's Keycloak and the like.

Built from OpenID Connect Core 1.0 and Discovery 1.0, RFC 6749 and RFC 7636. It logs one fixed user in without asking,
and can be made to lie.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

CLIENT, SECRET = "cytobus", "s3cret+with%signs"


def unsigned(claims: dict[str, Any]) -> str:
    """A token of the algorithm none."""
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


class OpenIdProvider:
    """On a port of this computer. ``user`` are its user's claims, ``lies`` go over all others (None: left out);
    ``key`` signs, ``published`` are the keys that it shows; ``sign`` makes the token."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self.clock = clock
        self.user: dict[str, Any] = {"sub": "4711", "preferred_username": "anna", "groups": ["staff", "lab-admins"]}
        self.lies: dict[str, Any] = {}
        self.key: RSAKey | ECKey = self.new_key()
        self.published = [self.key]
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.secret = SECRET
        self.ways = ["client_secret_basic"]
        self.discovery: dict[str, Any] = {}
        self.denies = ""
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.start()

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @staticmethod
    def new_key(kid: str = "first", kind: str = "RSA") -> RSAKey | ECKey:
        if kind == "EC":
            return ECKey.generate_key("P-256", {"kid": kid, "use": "sig", "alg": "ES256"})
        return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"})

    def signed(self, claims: dict[str, Any]) -> str:
        algorithm = "ES256" if isinstance(self.key, ECKey) else "RS256"
        return jwt.encode({"alg": algorithm, "kid": self.key.kid}, claims, self.key)

    def start(self) -> None:
        """On the same port as before, if there was one."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.answer(self, dict(parse_qsl(urlsplit(self.path).query)))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                provider.answer(self, {name: values[0] for name, values in parse_qs(body).items()})

            def log_message(self, *_words: object) -> None:
                """Tests say what they need themselves."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Away: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, to: BaseHTTPRequestHandler, asked: dict[str, str]) -> None:
        path = urlsplit(to.path).path
        self.asked.append(path)
        if path == "/authorize":
            to.send_response(302)
            to.send_header("Location", self.authorized(asked))
            to.end_headers()
            return
        status, told = 404, {}
        if path == "/.well-known/openid-configuration":
            status, told = 200, self._configuration()
        elif path == "/keys":
            status, told = 200, KeySet(list(self.published)).as_dict(private=False)
        elif path == "/token" and to.command == "POST":
            status, told = self._exchanged(asked, to.headers.get("authorization", ""))
        body = json.dumps(told).encode()
        to.send_response(status)
        to.send_header("Content-Type", "application/json")
        to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        to.wfile.write(body)

    def _configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "token_endpoint_auth_methods_supported": self.ways,
        } | self.discovery

    def authorized(self, asked: dict[str, str]) -> str:
        """Where the browser is sent back to; the user has agreed, or not."""
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256"
        if self.denies:
            return f"{asked['redirect_uri']}?{urlencode({'error': self.denies, 'state': asked['state']})}"
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def _exchanged(self, asked: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        if not self._is_client(asked, authorization):
            return 401, {"error": "invalid_client"}
        begun = self._codes.pop(asked.get("code", ""), None)
        digest = hashlib.sha256(asked.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if begun is None or begun["code_challenge"] != challenge or begun["redirect_uri"] != asked.get("redirect_uri"):
            return 400, {"error": "invalid_grant"}
        now = self.clock() // 10**9
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": begun["nonce"]}
        claims = {name: value for name, value in (claims | self.user | self.lies).items() if value is not None}
        return 200, {"access_token": "opaque", "token_type": "Bearer", "id_token": self.sign(claims)}

    def _is_client(self, asked: dict[str, str], authorization: str) -> bool:
        if not self.secret:
            return asked.get("client_id") == CLIENT and not authorization
        if "client_secret_basic" not in self.ways:
            return (asked.get("client_id"), asked.get("client_secret")) == (CLIENT, self.secret)
        name, _, secret = base64.b64decode(authorization.partition(" ")[2]).decode().partition(":")
        return (unquote_plus(name), unquote_plus(secret)) == (CLIENT, self.secret)
