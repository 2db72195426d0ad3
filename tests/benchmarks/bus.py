"""Each bus against its raw client library doing the same: a message in, kept by the server, out, acknowledged."""

import asyncio
import statistics
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable

import paho.mqtt.client as paho
import uvloop
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from redis.asyncio import Redis

from contracts.bus.mqtt import MqttBus
from contracts.bus.redis import RedisBus
from contracts.ports import Bus
from tests.support.mosquitto import Mosquitto
from tests.support.redis_server import RedisServer

BODY = b"x" * 256
WINDOW = 100
"""Messages on their way at once at most, when throughput is measured."""
Send = Callable[[bytes], Awaitable[None]]


class Course:
    """Messages go round: sent, and seen by ``arrived``. So many in a window, or one at a time."""

    def __init__(self, send: Send) -> None:
        self._send, self._free, self._seen = send, asyncio.Semaphore(WINDOW), asyncio.Event()
        self._left = 0

    def arrived(self) -> None:
        """A message came out."""
        self._free.release()
        self._left -= 1
        self._seen.set()

    async def many(self, count: int) -> float:
        """Messages per second."""
        self._left, begun, tasks = count, time.perf_counter(), set()
        for _ in range(count):
            await self._free.acquire()
            task = asyncio.create_task(self._send(BODY))  # type: ignore[arg-type]
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        while self._left:
            self._seen.clear()
            await self._seen.wait()
        return count / (time.perf_counter() - begun)

    async def one_by_one(self, count: int) -> list[float]:
        """How long each took, in ms."""
        taken = []
        for _ in range(count):
            self._left, begun = 1, time.perf_counter()
            await self._free.acquire()
            await self._send(BODY)
            while self._left:
                self._seen.clear()
                await self._seen.wait()
            taken.append((time.perf_counter() - begun) * 1e3)
        return taken


async def _figures(course: Course, count: int) -> dict[str, float]:
    await course.many(count // 10)
    rate = await course.many(count)
    taken = sorted(await course.one_by_one(count // 10))
    return {"msg/s": rate, "p50 ms": statistics.median(taken), "p99 ms": taken[int(len(taken) * 0.99)]}


async def ours(bus: Bus, count: int) -> dict[str, float]:
    """Through our bus."""
    course = Course(lambda body: bus.publish("bench/topic", body, key="key"))

    async def handle(_delivery: object) -> None:
        course.arrived()

    async with bus.subscribe("bench", {"bench/#": handle}):
        return await _figures(course, count)


class RawRedis:
    """XADD, XREADGROUP, XACK and XDEL by the library's asyncio client; what waits shares a round trip both ways."""

    def __init__(self, url: str) -> None:
        self._client = Redis.from_url(url, protocol=2)
        self._waiting: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        self._wake, self._stop = asyncio.Event(), False

    async def figures(self, count: int) -> dict[str, float]:
        await self._client.flushall()
        await self._client.xgroup_create("raw", "g", id="0", mkstream=True)
        course = Course(self._send)
        tasks = [asyncio.create_task(self._sender()), asyncio.create_task(self._receiver(course))]
        figures = await _figures(course, count)
        self._stop = True
        self._wake.set()
        await asyncio.gather(*tasks)
        await self._client.aclose()
        return figures

    async def _send(self, body: bytes) -> None:
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((body, done))
        self._wake.set()
        await done

    async def _sender(self) -> None:
        while not self._stop:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), WINDOW))]
                async with self._client.pipeline(transaction=False) as pipe:
                    for body, _ in batch:
                        pipe.xadd("raw", {"topic": "bench/topic", "key": "key", "payload": body})
                    await pipe.execute()
                for _, done in batch:
                    done.set_result(None)

    async def _receiver(self, course: Course) -> None:
        while not self._stop:
            for _, entries in await self._client.xreadgroup("g", "me", {"raw": ">"}, count=100, block=500) or ():
                for _ in entries:
                    course.arrived()
                numbers = [number for number, _ in entries]
                async with self._client.pipeline(transaction=False) as pipe:
                    pipe.xack("raw", "g", *numbers)
                    pipe.xdel("raw", *numbers)
                    await pipe.execute()


class RawMqtt:
    """Quality of service 1, a shared subscription, manual acknowledgement; all by callbacks of paho's own threads."""

    def __init__(self, port: int) -> None:
        self._free, self._seen = threading.Semaphore(WINDOW), threading.Semaphore(0)
        self._ready = threading.Event()
        version, lasting = paho.CallbackAPIVersion.VERSION2, Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 1000
        self._sender = paho.Client(version, client_id="raw-out", protocol=paho.MQTTv5)
        self._sender.max_inflight_messages_set(1000)
        self._receiver = paho.Client(version, client_id="raw-in", protocol=paho.MQTTv5, manual_ack=True)
        self._receiver.on_message, self._receiver.on_subscribe = self._on_message, lambda *_: self._ready.set()
        self._receiver.on_connect = lambda client, *_: client.subscribe("$share/g/raw/#", qos=1)
        for client, properties in ((self._receiver, lasting), (self._sender, None)):
            client.connect("127.0.0.1", port, clean_start=True, properties=properties)
            client.loop_start()
        assert self._ready.wait(10)

    def _on_message(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        client.ack(message.mid, message.qos)
        self._free.release()
        self._seen.release()

    def figures(self, count: int) -> dict[str, float]:
        self._many(count // 10)
        rate = self._many(count)
        taken = sorted(self._one() for _ in range(count // 10))
        for client in (self._sender, self._receiver):
            client.disconnect()
            client.loop_stop()
        return {"msg/s": rate, "p50 ms": statistics.median(taken), "p99 ms": taken[int(len(taken) * 0.99)]}

    def _many(self, count: int) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            self._free.acquire()
            self._sender.publish("raw/topic", BODY, qos=1)
        for _ in range(count):
            self._seen.acquire()
        return count / (time.perf_counter() - begun)

    def _one(self) -> float:
        begun = time.perf_counter()
        self._free.acquire()
        self._sender.publish("raw/topic", BODY, qos=1).wait_for_publish()
        self._seen.acquire()
        return (time.perf_counter() - begun) * 1e3


def buses(count: int) -> dict[str, float]:
    """Figures of both buses and their raw libraries, taken in turns in one run, and the ratios (goal 0.7)."""
    found: dict[str, float] = {}
    redis, mosquitto = RedisServer(keeps=False), Mosquitto()

    async def raw_redis() -> dict[str, float]:
        return await RawRedis(redis.url).figures(count)

    async def redis_bus() -> dict[str, float]:
        async with RedisBus(redis.url, instance="bench") as bus:
            return await ours(bus, count)

    async def mqtt_bus() -> dict[str, float]:
        async with MqttBus(mosquitto.url, instance="bench") as bus:
            return await ours(bus, count)

    try:
        for name, raw, bus in (
            ("redis", lambda: uvloop.run(raw_redis()), redis_bus),
            ("mqtt", lambda: RawMqtt(mosquitto.port).figures(count), mqtt_bus),
        ):
            turns = [(raw(), uvloop.run(bus())) for _ in range(3)]
            for what in ("msg/s", "p50 ms", "p99 ms"):
                plain, mine = (statistics.median(turn[place][what] for turn in turns) for place in (0, 1))
                found |= {f"{name} raw {what}": plain, f"{name} bus {what}": mine}
                found[f"{name} ratio {what}"] = mine / plain if what == "msg/s" else plain / mine
    finally:
        redis.close()
        mosquitto.close()
    return found


def jobs_per_second(count: int) -> dict[str, float]:
    """End to end on Redis and PostgreSQL, each service a process of its own: a pipeline that does nothing, and one
    that copies the file, whose output comes back."""
    import tempfile
    from pathlib import Path

    from tests.support import postgres
    from tests.support.fleet import Fleet

    found = {}
    for topic in ("only-results", "only-file"):
        redis, url = RedisServer(), postgres.shared().database()
        with tempfile.TemporaryDirectory() as folder:
            fleet = Fleet(Path(folder), bus_url=redis.url, database_url=url)
            try:
                fleet.start()
                fleet.launcher.add_task(topic)
                begun = time.perf_counter()
                for number in range(count):
                    fleet.edge.drop(f"image-{number}.dat", b"%d" % number * 64)
                done = lambda: fleet.repository.counts().get("complete", 0) == count  # noqa: B023, E731
                fleet.edge.wait_for(done, 600, "not all came back")
                found[f"{topic} jobs/s on Redis + PostgreSQL"] = count / (time.perf_counter() - begun)
            finally:
                fleet.close()
                redis.close()
    return found
