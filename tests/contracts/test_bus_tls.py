"""Both buses over TLS, with certificates of our own making; who has no password or trusts nobody stays outside."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from compose.certificates import Certificates, certificates, days_left, fingerprint
from contracts.bus.opening import open_bus
from contracts.errors import Unavailable
from contracts.ports import Delivery
from tests.support.mosquitto import Mosquitto
from tests.support.redis_server import RedisServer, free_port


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("tls"), ["broker.lab"])


@pytest.fixture(params=["redis", "mqtt"])
def broker(request: pytest.FixtureRequest, made: Certificates) -> Iterator[str]:
    """The URL of a broker that speaks TLS only, without the root to trust."""
    port = free_port()
    if request.param == "redis":
        files = {"tls-cert-file": made.certificate, "tls-key-file": made.key, "tls-ca-cert-file": made.authority}
        options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
        server = RedisServer(
            more=["--tls-port", str(port), "--tls-auth-clients", "no", "--requirepass", "open", *options]
        )
        yield f"rediss://:open@localhost:{port}/0"
        server.close()
        return
    listener = f"listener {port} 127.0.0.1\ncertfile {made.certificate}\nkeyfile {made.key}\n"
    mosquitto = Mosquitto(more=listener)
    yield f"mqtts://localhost:{port}"
    mosquitto.close()


def trusting(url: str, made: Certificates) -> str:
    option = "ssl_ca_certs" if url.startswith("rediss") else "ca"
    return f"{url}?{option}={made.authority}"


async def test_messages_go_over_tls(broker, made):
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(delivery: Delivery) -> None:
        heard.put_nowait(delivery.payload)

    async with open_bus(trusting(broker, made), instance="one") as bus, bus.subscribe("group", {"jobs": hear}):
        await bus.publish("jobs", b"over tls", key="k")
        assert await asyncio.wait_for(heard.get(), 20) == b"over tls"


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_broker_that_nobody_vouches_for_is_not_talked_to(broker):
    async with open_bus(broker, instance="one") as bus:
        with pytest.raises((Unavailable, TimeoutError)):
            await asyncio.wait_for(bus.publish("jobs", b"secret", key="k"), 3)


def test_certificates_stay_until_they_are_needed_anew(tmp_path: Path):
    first = certificates(tmp_path, ["a.lab"])
    before = (first.certificate.read_bytes(), first.authority.read_bytes())
    assert certificates(tmp_path, ["a.lab"]).certificate.read_bytes() == before[0]
    second = certificates(tmp_path, ["a.lab", "b.lab", "10.1.2.3"])
    assert second.certificate.read_bytes() != before[0]
    assert second.authority.read_bytes() == before[1]  # who trusts it need not be told again
    assert 790 < days_left(second.certificate) < 800.1
    ssl.create_default_context(cafile=str(second.authority))
    assert len(fingerprint(second.authority.read_text())) == 64
    second.certificate.write_text("damaged")
    assert days_left(certificates(tmp_path, ["a.lab"]).certificate) > 700
