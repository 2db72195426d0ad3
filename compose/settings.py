"""All settings of all parts: one TOML file, and environment variables that override it."""

import hashlib
import os
import socket
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from compose.addresses import is_loopback
from compose.machine import fitting_workers
from compose.parts import EdgeSettings as EdgeSettings
from compose.parts import GatewaySettings as GatewaySettings
from compose.parts import PipelineSettings as PipelineSettings
from compose.parts import SecuritySettings as SecuritySettings
from compose.parts import StreamSettings as StreamSettings
from contracts.hosting import ON_DEMAND, PORTS

CONFIG_FILE = "CYTOBUS_CONFIG"
"""Environment variable that names the TOML file; without it ``cytobus.toml`` in the working folder is read."""
LAPTOP_SECRET = "laptop-only"
"""The password of the example deployment; it is refused where others can reach it."""


class Settings(BaseSettings):
    """From ``cytobus.toml`` and the environment: ``CYTOBUS_DATA=/data``, ``CYTOBUS_EDGE__HOSTNAME=scope-1``."""

    model_config = SettingsConfigDict(
        env_prefix="CYTOBUS_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    data: Path = Path("data")
    host: str = "127.0.0.1"
    """Address on which all services listen; ``0.0.0.0`` for all."""
    port_offset: int = 0
    """Added to the contract's ports; -1: any free ports."""
    bus_url: str = "local://"
    """``local://`` (one process), ``redis://[:password@]host:6379/0`` or ``mqtt://[user:password@]host:1883``."""
    instance: str = ""
    """Names this process on the bus, the same after each start; empty: the host's name and what runs here."""
    export_url: str = ""
    """MQTT broker on which the contract's ``mqtt-export`` topics are repeated; empty: the bus, if that is MQTT."""
    published_on: str = ""
    """Address under which others reach this deployment, when it is not ``host`` (containers)."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = False
    config: Path | None = None
    samples: Path | None = None
    """Folder of images for ``make run``; empty: images from installed packages and rendered ones."""
    inference_threads: int = Field(default=1, ge=1)
    edge: EdgeSettings = EdgeSettings()
    gateway: GatewaySettings = GatewaySettings()
    pipelines: PipelineSettings = PipelineSettings()
    stream: StreamSettings = StreamSettings()
    security: SecuritySettings = SecuritySettings()

    @field_validator("data")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = Path(os.environ.get(CONFIG_FILE, "cytobus.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)

    def ports(self) -> dict[str, int]:
        """Service -> port to listen on; 0 asks the system for a free one."""
        return {
            name: 0 if self.port_offset < 0 else port + self.port_offset
            for name, port in {**PORTS, **ON_DEMAND}.items()
        }

    def folders(self) -> tuple[Path, ...]:
        return self.edge.folders or (self.data / "edge" / "input",)

    def output(self) -> Path:
        return self.edge.output or self.data / "edge" / "output"

    def gateway_files(self) -> Path:
        return self.gateway.files or self.data / "gateway"

    def database_url(self) -> str:
        return self.gateway.database_url or f"sqlite:///{self.data / 'gateway.db'}"

    def database_disk(self) -> Path | None:
        """The folder of the database, where it is SQLite; another's disk cannot be seen from here."""
        _, found, path = self.database_url().partition("sqlite:///")
        return Path(path).absolute().parent if found else None

    def gateway_places(self, first: str, *, keeps_database: bool = True) -> dict[str, Path]:
        """The disks that must have room: that of a folder of the gateway's files, and the database's, if the process
        that asks keeps it (another's data folder may lie anywhere, such as in memory)."""
        places, database = {first: self.gateway_files() / first}, self.database_disk() if keeps_database else None
        return places | ({"database": database} if database else {})

    def workers(self) -> int:
        return self.pipelines.workers or fitting_workers()

    def worker_name(self) -> str:
        return self.pipelines.worker_name or self._here()

    def on_bus(self, role: str) -> str:
        """What the process of a role is called on the bus."""
        return f"{self.instance or self._here()}.{role}"

    def _here(self) -> str:
        """A name that no other instance has, and that outlives restarts: the host's, and a word for the data folder."""
        return f"{socket.gethostname()}-{hashlib.sha256(str(self.data.resolve()).encode()).hexdigest()[:6]}"

    def export_to(self) -> str:
        """The broker of the exporter; empty: there is none."""
        return self.export_url or (self.bus_url if self.bus_url.startswith("mqtt") else "")

    def launch_style(self) -> str:
        """``aicsd`` or ``edgex``."""
        chosen = self.gateway.launch_style
        return chosen if chosen != "auto" else "edgex" if self.bus_url.startswith("mqtt") else "aicsd"

    def shown(self) -> dict[str, Any]:
        """For ``/config`` and logs: plain values, without passwords."""
        plain = self.model_dump(mode="json")
        for name in ("bus_url", "export_url"):
            plain[name] = without_password(plain[name])
        plain["gateway"]["database_url"] = without_password(self.database_url())
        plain["security"]["secret"] = "***" if self.security.secret else ""
        plain["security"]["oidc"]["client_secret"] = "***" if self.security.oidc.client_secret else ""
        return plain

    def secured(self) -> bool:
        """Whether everybody has to say who they are."""
        return self.security.required == "always" or not is_loopback(self.published_on or self.host)

    def with_tls(self) -> bool:
        """Whether the services speak TLS themselves."""
        return self.security.certificate is not None or (self.secured() and self.security.tls == "auto")

    def scheme(self) -> str:
        """``http`` or ``https``, by which the services here are called."""
        return "https" if self.with_tls() else "http"

    def callback(self) -> str:
        """The base of the URLs that pipelines are given."""
        return self.inside(self.gateway.callback)

    def tls_folder(self) -> Path:
        """Where certificates of our own making are."""
        return self.security.folder or self.data / "tls"

    def inside(self, base: str) -> str:
        """Where services of ours are, by a base of the settings: with TLS where they speak it."""
        return base.replace("http://", "https://", 1) if self.with_tls() else base

    @model_validator(mode="after")
    def _no_laptop_secret_in_a_network(self) -> "Settings":
        urls = {"bus_url": self.bus_url, "export_url": self.export_url, "database_url": self.gateway.database_url}
        known = [name for name, url in urls.items() if f":{LAPTOP_SECRET}@" in url]
        known += ["security.secret"] if self.security.secret == LAPTOP_SECRET else []
        if known and self.secured():
            raise ValueError(
                f"{', '.join(known)} has the password {LAPTOP_SECRET!r}, which everybody knows, but the deployment can"
                f" be reached at {self.published_on or self.host}: set passwords of your own"
            )
        if (self.security.certificate is None) != (self.security.key is None):
            raise ValueError("security.certificate and security.key belong together: name both or neither")
        return self


def address(base: str, service: str, port: int) -> str:
    """Where a service is: a base of the settings, the service's name put in, with its port."""
    return f"{base.rstrip('/').replace('{service}', service)}:{port}"


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    scheme, found, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    return f"{scheme}{found}{login.partition(':')[0]}:***@{place}" if at else url
