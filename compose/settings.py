"""All settings of all parts: one TOML file, and environment variables that override it."""

import os
import socket
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from contracts.hosting import PORTS

CONFIG_FILE = "CYTOBUS_CONFIG"
"""Environment variable that names the TOML file; without it ``cytobus.toml`` in the working folder is read."""


class Part(BaseModel):
    """A table of the TOML file: frozen, and a misspelt name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AttributeSetting(Part):
    """One rule that reads an attribute from file names: the contract's ``AttributeParser`` entry."""

    name: str
    id: str
    data_type: Literal["bool", "int", "string"]


class EdgeSettings(Part):
    """The instrument's side."""

    hostname: str = "oem"
    """Its name in jobs; each instrument PC needs one of its own."""
    folders: tuple[Path, ...] = ()
    """Watched folders; empty: ``edge/input`` in the data folder."""
    output: Path | None = None
    """Where results come back; empty: ``edge/output`` in the data folder."""
    gateway: str = "http://127.0.0.1"
    """Where the gateway is, scheme and host; the contract's ports are added."""
    lab_name: str = "ScienceLab"
    lab_equipment: str = "Microscope"
    operator: str = "Scientist 1"
    poll: bool = False
    """Watch by looking again and again: for network shares, which send no events."""
    poll_seconds: float = Field(default=5.0, gt=0)
    rescan_seconds: float = Field(default=30.0, gt=0)
    settle_seconds: float = Field(default=2.0, ge=0)
    extensions: tuple[str, ...] = ()
    exclude: str = ""
    watch_subfolders: bool = True
    attributes: tuple[AttributeSetting, ...] = ()
    patterns: dict[str, str] = {}
    """Regular expressions with named groups, by a name of your own."""
    vendor_names: bool = True
    """Read plate, well, field and channel from the names that plate readers' software makes."""


class GatewaySettings(Part):
    """The compute side."""

    hostname: str = "gateway"
    files: Path | None = None
    """Folder with input, output, archive, reject; empty: ``gateway`` in the data folder."""
    database_url: str = ""
    """SQLAlchemy URL; empty: SQLite in the data folder."""
    callback: str = "http://127.0.0.1"
    """Scheme and host under which pipelines reach this gateway."""
    answer_seconds: float = Field(default=900.0, gt=0)
    """How long a pipeline that only speaks the contract may be silent before it is told again."""


class PipelineSettings(Part):
    """The pipelines' side."""

    workers: int = Field(default=0, ge=0)
    """Processes that run pipelines at once; 0: one for each processor."""
    topics: tuple[str, ...] = ()
    """Run only these pipelines; empty: all that are installed."""
    worker_name: str = ""
    """Names this runner and no other; empty: the host's name."""
    gateway: str = "http://127.0.0.1"
    timeout_seconds: float = Field(default=600.0, gt=0)
    memory_mb: int = Field(default=0, ge=0)
    """Address space of a worker process at most; 0: no limit."""
    lease_seconds: float = Field(default=60.0, gt=0)


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
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = False
    config: Path | None = None
    samples: Path | None = None
    """Folder of images for ``make run``; empty: images from installed packages and rendered ones."""
    inference_threads: int = Field(default=1, ge=1)
    edge: EdgeSettings = EdgeSettings()
    gateway: GatewaySettings = GatewaySettings()
    pipelines: PipelineSettings = PipelineSettings()

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
        return {name: 0 if self.port_offset < 0 else port + self.port_offset for name, port in PORTS.items()}

    def folders(self) -> tuple[Path, ...]:
        return self.edge.folders or (self.data / "edge" / "input",)

    def output(self) -> Path:
        return self.edge.output or self.data / "edge" / "output"

    def gateway_files(self) -> Path:
        return self.gateway.files or self.data / "gateway"

    def database_url(self) -> str:
        return self.gateway.database_url or f"sqlite:///{self.data / 'gateway.db'}"

    def workers(self) -> int:
        return self.pipelines.workers or os.cpu_count() or 1

    def worker_name(self) -> str:
        return self.pipelines.worker_name or socket.gethostname()

    def shown(self) -> dict[str, Any]:
        """For ``/config`` and logs: plain values, without the password of a database."""
        plain = self.model_dump(mode="json")
        plain["gateway"]["database_url"] = _without_password(self.database_url())
        return plain


def _without_password(url: str) -> str:
    scheme, found, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    return f"{scheme}{found}{login.partition(':')[0]}:***@{place}" if at else url
