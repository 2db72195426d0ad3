"""Where a model runs, as the settings say it: ``openvino``, ``kserve+grpc://host:8001?timeout=10`` …"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from pipelines.backends.errors import BadAddress

CHOSEN = "CYTOBUS_PIPELINES__BACKENDS"
"""Environment: where each pipeline's models run, by topic, in JSON; what it does not name runs by OpenVINO here."""
SERVERS = ("kserve+grpc", "kserve+http", "kserve+https", "ovms", "bentoml+http", "bentoml+https")
BOTH = ("timeout", "model", "version", "at_once", "batch")
LOCAL = (*BOTH, "device", "hint", "precision", "threads", "cache")
REMOTE = (*BOTH, "retries")
LARGEST_COUNT = 1024
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "openvino": LOCAL,
    "kserve+grpc": (*REMOTE, "shm", "stream"),
    "kserve+http": (*REMOTE, "shm"),
    "kserve+https": REMOTE,
    "ovms": REMOTE,
    "bentoml+http": REMOTE,
    "bentoml+https": REMOTE,
}


@dataclass(frozen=True)
class Address:
    """A setting of ``pipelines.backends``, taken apart."""

    scheme: str = "openvino"
    host: str = ""
    port: int = 0
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """As it is shown: without options."""
        return f"{self.scheme}://{self.host}:{self.port}" if self.host else self.scheme

    def text(self, name: str, default: str, among: tuple[str, ...] = ()) -> str:
        """An option. Raises ``BadAddress`` unless it is one of these."""
        value = self.options.get(name, default)
        if among and value not in among:
            raise BadAddress(f"backend {self}: option {name}={value!r} must be one of {', '.join(among)}")
        return value

    def number(self, name: str, default: float, least: float = 0.0) -> float:
        """An option that is a number. Raises ``BadAddress`` unless it is one, and not less than ``least``."""
        text = self.options.get(name, "")
        try:
            value = float(text) if text else default
        except ValueError:
            value = float("nan")
        if not least <= value < 1e9:
            raise BadAddress(f"backend {self}: option {name}={text!r} must be a number from {least:g} on")
        return value

    def count(self, name: str, default: int) -> int:
        """An option that is a whole number from 1 on. Raises ``BadAddress``."""
        value = self.number(name, default, least=1.0)
        if value != int(value) or value > LARGEST_COUNT:
            raise BadAddress(
                f"backend {self}: option {name}={value:g} must be a whole number from 1 to {LARGEST_COUNT}"
            )
        return int(value)


def parsed(text: str) -> Address:
    """Take a setting apart. Raises ``BadAddress`` with what is wrong and what would be right."""
    place, _, query = text.strip().partition("?")
    scheme, _, rest = place.partition("://")
    if scheme not in OPTIONS:
        raise BadAddress(f"backend {text!r}: {scheme!r} is none of {', '.join(OPTIONS)}")
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname or "", parts.port or 0
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise BadAddress(f"backend {text!r}: {error}; such as {scheme}://host:8001?timeout=10") from None
    if scheme in SERVERS and not (host and port):
        raise BadAddress(f"backend {text!r} wants host and port, such as {scheme}://127.0.0.1:8001")
    if parts.path.strip("/") or parts.username or (scheme not in SERVERS and rest):
        raise BadAddress(f"backend {text!r} says more than {'host and port' if host else scheme}; options follow a ?")
    for name, _ in pairs:
        if name not in OPTIONS[scheme]:
            raise BadAddress(f"backend {text!r}: option {name!r} is none of {', '.join(OPTIONS[scheme])}")
    return _checked(Address(scheme, host, port, dict(pairs)))


def _checked(address: Address) -> Address:
    """Options that can be judged without the place itself."""
    address.number("timeout", 1.0, least=0.001)
    address.number("retries", 0.0)
    address.number("threads", 1.0, least=0.0)
    for name in ("at_once", "batch"):
        address.count(name, 1)
    address.text("hint", "latency", ("latency", "throughput"))
    address.text("precision", "auto", ("auto", "f32", "bf16"))
    address.text("shm", "auto", ("auto", "on", "off", "cuda", *(f"cuda:{gpu}" for gpu in range(16))))
    address.text("stream", "off", ("on", "off"))
    return address
