"""Who may hear and say what at the broker of the containers: its start script and settings, with a real Mosquitto."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from tests.support.waiting import eventually

HERE = Path(__file__).parents[2] / "compose"
SECRETS = {"MQTT_USER": "cytobus", "MQTT_PASSWORD": "ours", "MQTT_PIPELINE_USER": "pipeline"}
TOPICS = {"MQTT_PIPELINE_TOPICS": "mqtt-export/pipeline/params stranger/+"}


class Broker:
    """The container's broker, with its folders and ports elsewhere."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.port, other = _free_ports()
        conf = (HERE / "mosquitto.conf").read_text().replace("listener 1883", f"listener {self.port} 127.0.0.1")
        conf = conf.replace("listener 8883", f"listener {other} 127.0.0.1").replace("/run/mosquitto", str(folder))
        (folder / "config").mkdir()
        (folder / "data").mkdir()
        conf = conf.replace("/mosquitto/data/", f"{folder}/data/") + "user root\n"
        (folder / "config" / "mosquitto.conf").write_text(conf)
        path = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
        if shutil.which("mosquitto", path=path) is None:
            raise AssertionError("mosquitto is not installed: run make servers, or install your system's package")
        folders = {"CONFIG_FOLDER": str(folder / "config"), "RUN_FOLDER": str(folder), "TLS_FOLDER": str(folder)}
        published = {"PUBLISHED_ON": "127.0.0.1", "MQTT_PIPELINE_PASSWORD": "theirs"}
        environment = {"PATH": path} | SECRETS | TOPICS | folders | published | more
        self._log = (folder / "log").open("wb")
        command = ["sh", str(HERE / "mosquitto-start.sh")]
        self.process = subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log)
        self.log = folder / "log"

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._log.close()


def _free_ports() -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    yield made
    made.close()


class Client:
    """Somebody with a login, who hears everything that they are allowed to hear."""

    def __init__(self, broker: Broker, user: str, password: str) -> None:
        self.heard: list[str] = []
        self.refused: list[str] = []
        self.ready = False
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.username_pw_set(user, password)
        self.client.on_connect = self._connected
        self.client.on_subscribe = self._subscribed
        self.client.on_message = lambda _client, _data, message: self.heard.append(message.topic)
        self.client.connect_async("127.0.0.1", broker.port)
        self.client.reconnect_delay_set(1, 1)
        self.client.loop_start()

    def _connected(self, client, _data, _flags, reason, _properties) -> None:
        if reason.is_failure:
            self.refused.append(str(reason))
        else:
            client.subscribe([("#", 1), ("$share/group/edgex/#", 1)])

    def _subscribed(self, *_: object) -> None:
        self.ready = True

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


ALLOWED = ["mqtt-export/pipeline/params", "stranger/one"]
OTHERS = ["mqtt-export/pipeline/inferenceResults", "jobs", "edgex/events/device/a/b/c/d", "cytobus/dead/g", "nuclei"]


async def test_a_strangers_pipeline_hears_its_orders_only_and_says_nothing_while_ours_hear_and_say_all(broker):
    ours = Client(broker, "cytobus", "ours")
    await eventually(lambda: ours.ready)  # of those who share, the first gets the first message
    theirs = Client(broker, "pipeline", "theirs")
    try:
        await eventually(lambda: theirs.ready)
        theirs.client.publish("stranger/said", b"x", qos=1)
        for topic in [*OTHERS, *ALLOWED]:  # in this order: when the last is heard, the others would have been
            ours.client.publish(topic, b"x", qos=1)
        await eventually(lambda: set(ALLOWED) <= set(theirs.heard) and set(OTHERS) <= set(ours.heard))
        assert theirs.heard == ALLOWED
        assert "stranger/said" not in ours.heard
        await eventually(lambda: ours.heard.count("edgex/events/device/a/b/c/d") == 2)  # shared subscriptions too
    finally:
        ours.close()
        theirs.close()


async def test_nobody_comes_in_without_one_of_the_passwords(broker):
    wrong = [Client(broker, "pipeline", "ours"), Client(broker, "cytobus", "theirs"), Client(broker, "", "")]
    try:
        await eventually(lambda: all(one.refused for one in wrong))
        assert not any(one.ready for one in wrong)
    finally:
        for one in wrong:
            one.close()


@pytest.mark.parametrize("known", ["MQTT_PASSWORD", "MQTT_PIPELINE_PASSWORD"])
def test_off_the_laptop_it_does_not_start_with_a_password_that_everybody_knows(tmp_path, known):
    broker = Broker(tmp_path, PUBLISHED_ON="192.168.1.7", **{known: "laptop-only"})
    try:
        assert broker.process.wait(20) == 1
        assert "everybody knows laptop-only" in broker.log.read_text()
    finally:
        broker.close()


async def test_without_a_password_for_pipelines_there_is_no_such_login(tmp_path):
    broker = Broker(tmp_path, MQTT_PIPELINE_PASSWORD="")
    ours, theirs = Client(broker, "cytobus", "ours"), Client(broker, "pipeline", "")
    try:
        await eventually(lambda: ours.ready and theirs.refused)
    finally:
        for one in (ours, theirs, broker):
            one.close()
