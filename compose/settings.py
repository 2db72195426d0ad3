"""All settings of all parts: one TOML file, and environment variables that override it."""

import hashlib
import os
import socket
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from compose.addresses import is_loopback
from compose.machine import fitting_workers
from compose.oidc import OidcSettings
from contracts.hosting import ON_DEMAND, PORTS
from contracts.states import MAX_FAILURES
from pipelines.backends.address import parsed

CONFIG_FILE = "CYTOBUS_CONFIG"
"""Environment variable that names the TOML file; without it ``cytobus.toml`` in the working folder is read."""
LAPTOP_SECRET = "laptop-only"
"""The password of the example deployment; it is refused where others can reach it."""


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
    """Where the gateway is, scheme and host; the contract's ports are added. ``{service}`` stands for the
    service's name, where each has a host of its own."""
    lab_name: str = "ScienceLab"
    lab_equipment: str = "Microscope"
    operator: str = "Scientist 1"
    poll: bool = False
    """Watch by looking again and again: for network shares, which send no events."""
    poll_seconds: float = Field(default=5.0, gt=0)
    rescan_seconds: float = Field(default=30.0, gt=0)
    min_free_mb: int = Field(default=256, ge=0)
    """So much (10**6 bytes) stays free on the disk for results: below it none is fetched; 0: never mind."""
    settle_seconds: float = Field(default=2.0, ge=0)
    extensions: tuple[str, ...] = ()
    exclude: str = ""
    watch_subfolders: bool = True
    attributes: tuple[AttributeSetting, ...] = ()
    patterns: dict[str, str] = {}
    """Regular expressions with named groups, by a name of your own."""
    vendor_names: bool = True
    """Read plate, well, field and channel from the names that plate readers' software makes."""


class RetentionSettings(Part):
    """How long files of ended jobs are kept at the gateway, and the audit; the jobs themselves stay."""

    days: float = Field(default=0, ge=0)
    """So long after its registration a processed image is kept with its results and previews; 0: for ever."""
    max_gb: float = Field(default=0, ge=0)
    """So much (10**9 bytes) archive and rejects may hold: the oldest go; 0: no bound."""
    failed_days: float = Field(default=0, ge=0)
    """So long files of failed and unmatched jobs are kept; 0: for ever. Those of quarantined ones always are."""
    audit_days: float = Field(default=730, ge=0)
    """So long the audit tells what people changed (``cytobus audit``); 0: for ever."""


class CellSettings(Part):
    """Vectors of cells, and how those that are alike are found."""

    folder: Path | None = None
    """Where vectors lie; empty: ``vectors`` among the gateway's files."""
    kind: Literal["auto", "flat", "ivf-sq8", "ivf-pq", "hnsw"] = "auto"
    """The form of large parts of the index; auto: as exact as ``memory_mb`` allows."""
    memory_mb: float = Field(default=4096, gt=0)
    """So much (10**6 bytes) the vectors of a model may take in memory; more of them are kept coarser there."""
    recall: float = Field(default=0.97, gt=0, le=1)
    """The part of the ten nearest that a search is to find."""
    threads: int = Field(default=1, ge=1)
    """That work on one search."""
    shards: tuple[str, ...] = ()
    """Cell indexes of other processes that keep the vectors, each a part, such as ``http://cells-1.lab:59790``; empty:
    they are kept here. Their order is part of where vectors are."""
    most_on_map: int = Field(default=1_000_000, ge=1000)
    """So many of the newest cells are on the map, and in memory (about 0.2 kB each); older ones are still found."""


class GatewaySettings(Part):
    """The compute side."""

    hostname: str = "gateway"
    files: Path | None = None
    """Folder with input, output, archive, reject; empty: ``gateway`` in the data folder."""
    database_url: str = ""
    """SQLAlchemy URL; empty: SQLite in the data folder."""
    callback: str = "http://127.0.0.1"
    """Scheme and host under which pipelines reach this gateway; ``{service}`` stands for the service's name."""
    inside: str = "http://127.0.0.1"
    """Where the gateway's services find each other when they run in processes of their own; as ``callback``."""
    database_seconds: float = Field(default=60.0, ge=0)
    """How long a database that is away is waited for at the start."""
    launch_style: Literal["auto", "aicsd", "edgex"] = "auto"
    """The form of orders to pipelines on the bus; auto: AiCSD's on Redis, EdgeX v3's on MQTT."""
    edgex_raw_payload: bool = False
    """EdgeX v4's raw JSON payload instead of base64, which older services do not understand."""
    answer_seconds: float = Field(default=900.0, gt=0)
    """How long a pipeline that only speaks the contract may be silent before it is told again."""
    min_free_mb: int = Field(default=1024, ge=0)
    """So much (10**6 bytes) stays free on the disks of files and database: below it no image is taken and no pipeline
    started; 0: never mind."""
    max_waiting: int = Field(default=100_000, ge=0)
    """Jobs that may wait at the gateway for their pipelines; more wait at their instruments. 0: any number."""
    max_file_mb: float = Field(default=0, ge=0)
    """The largest image that is taken (10**6 bytes); 0: any."""
    max_model_mb: float = Field(default=512, gt=0)
    """The largest package of a model that is taken (10**6 bytes)."""
    requests_per_second: float = Field(default=0, ge=0)
    """For each client; who asks more often is told when to come back. 0: no limit."""
    upload_mb_per_second: float = Field(default=0, ge=0)
    """For each client, on average (10**6 bytes); 0: no limit."""
    retention: RetentionSettings = RetentionSettings()
    cells: CellSettings = CellSettings()


class PipelineLimits(Part):
    """Limits of one pipeline; those that are not given are the general ones."""

    timeout_seconds: float | None = Field(default=None, gt=0)
    memory_mb: int | None = Field(default=None, ge=1)
    attempts: int | None = Field(default=None, ge=1, le=100)
    """So many failed runs of a job, and it goes to quarantine."""


class PipelineSettings(Part):
    """The pipelines' side."""

    workers: int = Field(default=0, ge=0)
    """Processes that run pipelines at once; 0: one for each processor."""
    topics: tuple[str, ...] = ()
    """Run only these pipelines; empty: all that are installed."""
    worker_name: str = ""
    """Names this runner and no other; empty: the host's name."""
    gateway: str = "http://127.0.0.1"
    """Where the gateway is; as for the edge."""
    timeout_seconds: float = Field(default=600.0, gt=0)
    memory_mb: int = Field(default=0, ge=0)
    """Address space of a worker process at most; 0: no limit."""
    lease_seconds: float = Field(default=60.0, gt=0)
    attempts: int = Field(default=MAX_FAILURES, ge=1, le=100)
    """So many failed runs of a job, and it goes to quarantine."""
    limits: dict[str, PipelineLimits] = {}
    """Of single pipelines, by topic."""
    backends: dict[str, str] = {}
    """Where the models of single pipelines run, by topic, such as ``kserve+grpc://triton:8001``; others here."""

    @field_validator("backends")
    @classmethod
    def _understood(cls, backends: dict[str, str]) -> dict[str, str]:
        for place in backends.values():
            parsed(place)
        return backends


class StreamSettings(Part):
    """The stream of frames: ``cytobus serve stream``, or ``on`` in the same process as the others."""

    on: bool = False
    """``cytobus up`` and ``cytobus gateway`` serve it too. A process of its own answers sooner."""
    model: str = "bloodcells"
    """Or ``cells``, or ``package.module:Class`` of a model of your own (``pipelines.stream.port``). Where it runs is
    said by ``pipelines.backends.<name>``."""
    connections: int = Field(default=16, ge=1)
    window: int = Field(default=256, ge=1, le=65536)
    """Frames without an answer on each connection; an instrument that has so many waits."""
    memory_mb: float = Field(default=256, gt=0)
    """Pixels (10**6 bytes) that may wait, of all connections together."""
    batch: int = Field(default=32, ge=1, le=32)
    deadline_ms: float = Field(default=4.0, ge=0, le=1000)
    """So long the first frame of a batch waits for others."""
    idle_seconds: float = Field(default=600.0, gt=0)
    bus_topic: str = ""
    """EdgeX events there hold frames too, as Binary readings: ``edgex/events/device/+/+/+/Frame``; empty: none."""
    gates_seconds: float = Field(default=5.0, ge=0, le=3600)
    """So often the gates of the map of cells are read again, beside whenever a change is announced; 0: never."""


class SecuritySettings(Part):
    """Who may come in, and how. Off this computer nothing answers to anybody who is not known."""

    required: Literal["auto", "always"] = "auto"
    """auto: wherever other computers can reach the services."""
    secret: str = ""
    """Shared by all services of one gateway, and by nobody else; empty: a file in the data folder, made at the first
    start."""
    secret_file: Path | None = None
    """Holds the secret, instead."""
    tls: Literal["auto", "proxy"] = "auto"
    """auto: with certificates of our own making unless others are named; proxy: something in front of us does it."""
    folder: Path | None = None
    """Of certificates of our own making; empty: ``tls`` in the data folder."""
    certificate: Path | None = None
    """PEM file of the services' certificate, with those between it and the root."""
    key: Path | None = None
    names: tuple[str, ...] = ()
    """Under which others reach this host, for a certificate of our own making; the host's own are in it anyway."""
    authority: Path | None = None
    """PEM file of the root by which the gateway's certificate is checked; empty: as enrolled, else the system's."""
    allowed_origins: tuple[str, ...] = ()
    """Sites whose pages may use the services from a browser, such as ``https://ui.lab``."""
    oidc: OidcSettings = OidcSettings()


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
