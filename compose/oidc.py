"""Settings of logins at an OpenID provider."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from compose.addresses import is_confidential


class OidcSettings(BaseModel):
    """People log in at an OpenID provider. Who has none of ``roles`` does not come in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = ""
    """The provider's URL, as it calls itself; empty: people log in here, by their passwords."""
    client_id: str = ""
    client_secret: str = ""
    """As the provider gave it; empty: none (a public client)."""
    client_secret_file: Path | None = None
    """Holds it, instead."""
    role_claim: str = "groups"
    """Says in ID tokens what somebody is; with dots where it lies deeper: ``realm_access.roles``."""
    roles: dict[str, Literal["viewer", "operator", "admin"]] = {}
    """Which value of it is which role; of several the highest."""
    name_claim: str = "preferred_username"
    """Says in ID tokens what somebody is called here."""
    scopes: tuple[str, ...] = ("openid", "profile")
    """What is asked for; some providers tell groups only when asked for ``groups``."""
    redirect_uri: str = ""
    """Where browsers come back to, as registered with the provider; empty: made of ``published_on`` or ``host``."""
    authority: Path | None = None
    """PEM file of the root by which the provider's certificate is checked; empty: those that are known everywhere."""

    @model_validator(mode="after")
    def _whole(self) -> "OidcSettings":
        if not self.issuer:
            return self
        if not is_confidential(self.issuer):
            raise ValueError(f"issuer is {self.issuer}: it must be an https:// URL")
        if self.redirect_uri and not is_confidential(self.redirect_uri):
            raise ValueError(f"redirect_uri is {self.redirect_uri}: it must be an https:// URL")
        if not self.client_id:
            raise ValueError("client_id is empty: register this gateway with the provider and name what it is called")
        if not self.roles:
            raise ValueError(
                f"roles is empty, nobody could come in: say which value of {self.role_claim} is which role"
            )
        if "openid" not in self.scopes:
            raise ValueError("scopes must have openid among them")
        return self

    def secret(self) -> str:
        """The client's. Raises ``OSError`` where the file cannot be read."""
        return self.client_secret or (self.client_secret_file.read_text().strip() if self.client_secret_file else "")
