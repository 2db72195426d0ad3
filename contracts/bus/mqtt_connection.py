"""One connection to an MQTT 5 broker, kept up for ever in the event loop."""

import asyncio
import logging
import math
import random
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from contracts.desk import pause_after
from contracts.errors import Rejected, Unavailable

log = logging.getLogger(__name__)
MAX_PACKET = 64 * 2**20
"""Bytes of one message that we take at most."""
KEEPALIVE = 20
SESSION_SECONDS = 600
"""How long a broker keeps what waits for somebody who is away. Not longer: brokers deal messages also to members of a
group that are gone, and whoever was away for long looks for work by himself."""
STEADY = 5.0
"""Seconds that a connection must have lasted to be called good."""
LONGEST_PAUSE = 5
PACKETS_A_TURN = 8
OVERHEAD = 64
"""Bytes of a PUBLISH packet beside topic, payload and user properties, at most."""


@dataclass(frozen=True)
class Address:
    """Where a broker is, and who we are there."""

    host: str
    port: int
    tls: bool = False
    user: str = ""
    password: str = ""
    ca: str | None = None
    """file of the authorities trusted instead of the system's"""

    @classmethod
    def of(cls, url: str) -> "Address":
        """From ``mqtt://[user:password@]host[:1883]`` or ``mqtts://…[?ca=FILE]``. Raises ``ValueError``."""
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ValueError(f"{url!r} is no MQTT address: it must be mqtt://[user:password@]host[:port]")
        tls = parts.scheme == "mqtts"
        return cls(
            parts.hostname,
            parts.port or (8883 if tls else 1883),
            tls,
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            next(iter(parse_qs(parts.query).get("ca", ())), None),
        )


class Connection:
    """A client of a stable name. Its session outlives the connection if ``in_flight`` messages may be received."""

    def __init__(
        self,
        address: Address,
        client_id: str,
        counts: dict[str, int],
        in_flight: int = 0,
        *,
        session_seconds: int = SESSION_SECONDS,
    ) -> None:
        self._address, self._counts = address, counts
        self.connected = asyncio.Event()
        self.trouble = ""
        self.epoch = 0
        """Counts connections: what was received on an earlier one cannot be acknowledged any more."""
        self.on_up: Callable[[], None] = lambda: None
        self.on_message: Callable[[int, mqtt.MQTTMessage], None] = lambda _epoch, _message: None
        self._limit: int | None = None
        self._published: dict[int, asyncio.Future[None]] = {}
        self._answered: dict[int, asyncio.Future[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._closing, self._news, self._down_again = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._lasting = in_flight > 0
        self._up_since = math.inf
        self._failures = 0
        self._hello = _properties(PacketTypes.CONNECT)
        self._hello.MaximumPacketSize = MAX_PACKET
        if self._lasting:
            self._hello.SessionExpiryInterval = session_seconds
            self._hello.ReceiveMaximum = in_flight
        self._client = self._made(client_id)

    def _made(self, client_id: str) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=mqtt.MQTTv5,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(1000)
        if self._address.user:
            client.username_pw_set(self._address.user, self._address.password)
        if self._address.tls:
            client.tls_set_context(ssl.create_default_context(cafile=self._address.ca))
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish, client.on_message = self._on_publish, self._on_message
        client.on_subscribe = client.on_unsubscribe = self._on_answer
        client.on_socket_open, client.on_socket_close = self._on_socket_open, self._on_socket_close
        client.on_socket_register_write = self._on_write_wanted
        client.on_socket_unregister_write = self._on_write_done
        return client

    def open(self) -> None:
        """Begin to connect, again and again until it works. Returns at once."""
        self._loop = asyncio.get_running_loop()
        self._keeping = asyncio.create_task(self._keep_up(), name="mqtt connection")

    async def close(self, *, for_good: bool = False) -> None:
        """Disconnect. With ``for_good`` the broker forgets the session now."""
        self._closing.set()
        self._news.set()
        if self._keeping is not None:
            await self._keeping
        goodbye = _properties(PacketTypes.DISCONNECT)
        if for_good and self._lasting:
            goodbye.SessionExpiryInterval = 0
        if self._client.socket() is not None:
            self._down_again.clear()
            self._client.disconnect(properties=goodbye)
            with suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._down_again.wait()
        self._fail("the bus was closed")

    async def _keep_up(self) -> None:
        """Connect whenever there is no connection, and see to it that one that is silent is noticed."""
        while not self._closing.is_set():
            self._news.clear()
            if self._client.socket() is None:
                again = self._failures - 1  # the first time that a connection is lost it is made again at once
                if again > 0 and await self._closes_within(
                    pause_after(again - 1, longest=LONGEST_PAUSE, chance=random.random())
                ):
                    return
                # Each try counts as failed until its connection has lasted: a broker may refuse us, or throw us out,
                # after it has let us in.
                self._failures += 1
                try:
                    await asyncio.to_thread(self._connect)
                except (OSError, ValueError) as error:
                    self._down(f"mqtt: no connection to {self._address.host}:{self._address.port}: {error}")
                    continue
            else:
                self._client.loop_misc()
                if asyncio.get_running_loop().time() - self._up_since > STEADY:
                    self._failures = 0
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._news.wait()

    async def _closes_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return False
        return True

    def _connect(self) -> None:
        """Blocks while the name is looked up and the connection is made."""
        at = self._address
        self._client.connect(
            at.host, at.port, keepalive=KEEPALIVE, clean_start=not self._lasting, properties=self._hello
        )

    # The client's network work is done in the event loop: a thread of its own would fight it for the interpreter.

    def _on_socket_open(self, _client: mqtt.Client, _data: object, sock: Any) -> None:
        # Without this, small acknowledgements wait for each other.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._in_loop(lambda: self._loop_now().add_reader(sock, self._read))

    def _read(self) -> None:
        """One packet a call is all that paho reads; several a turn of the loop are faster."""
        for _ in range(PACKETS_A_TURN):
            if self._client.loop_read() != mqtt.MQTT_ERR_SUCCESS or self._client.socket() is None:
                return

    def _on_socket_close(self, _client: mqtt.Client, _data: object, sock: Any) -> None:
        number = sock.fileno()
        if number >= 0:
            self._in_loop(lambda: (self._loop_now().remove_reader(number), self._loop_now().remove_writer(number)))

    def _on_write_wanted(self, _client: mqtt.Client, _data: object, sock: Any) -> None:
        self._in_loop(lambda: self._loop_now().add_writer(sock, self._client.loop_write))

    def _on_write_done(self, _client: mqtt.Client, _data: object, sock: Any) -> None:
        number = sock.fileno()
        if number >= 0:
            self._in_loop(lambda: self._loop_now().remove_writer(number))

    def _loop_now(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None
        return self._loop

    def _in_loop(self, call: Callable[[], object]) -> None:
        """Now if this is the loop's thread, else soon: connecting happens in another."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            call()
        elif not self._loop_now().is_closed():
            self._loop_now().call_soon_threadsafe(call)

    async def publish(self, topic: str, payload: bytes, words: Mapping[str, str]) -> None:
        """Returns when the broker has acknowledged. Raises ``Rejected`` or ``Unavailable``."""
        size = len(topic.encode()) + len(payload) + sum(len(k) + len(v.encode()) + 8 for k, v in words.items())
        if self._limit is not None and size + OVERHEAD > self._limit:
            raise Rejected(
                f"a message of {size} bytes on {topic} is larger than the {self._limit} bytes that the broker takes:"
                " raise its max_packet_size"
            )
        properties = _properties(PacketTypes.PUBLISH)
        properties.UserProperty = list(words.items())
        sent = self._client.publish(topic, payload, qos=1, retain=False, properties=properties)
        if sent.rc != mqtt.MQTT_ERR_SUCCESS:
            raise Unavailable(f"the bus does not take messages: {mqtt.error_string(sent.rc)}")
        future = self._published[sent.mid] = asyncio.get_running_loop().create_future()
        await future

    async def subscribe(self, filters: Mapping[str, int]) -> None:
        """Subscribe, each filter with its identifier. Raises ``Unavailable``."""
        futures = []
        for text, number in filters.items():
            options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
            properties = _properties(PacketTypes.SUBSCRIBE)
            properties.SubscriptionIdentifier = number
            futures.append(self._asked(*self._client.subscribe(text, options=options, properties=properties)))
        await asyncio.gather(*futures)

    async def unsubscribe(self, filters: list[str]) -> None:
        """Ask for no more. Raises ``Unavailable``."""
        await self._asked(*self._client.unsubscribe(filters))

    def acknowledge(self, epoch: int, message: mqtt.MQTTMessage) -> None:
        """The message is dealt with; one of an earlier connection will come again."""
        if epoch == self.epoch and self.connected.is_set():
            self._client.ack(message.mid, message.qos)

    async def _asked(self, code: int, mid: int | None) -> None:
        if code != mqtt.MQTT_ERR_SUCCESS or mid is None:
            raise Unavailable(f"the bus is away: {mqtt.error_string(MQTTErrorCode(code))}")
        future = self._answered[mid] = asyncio.get_running_loop().create_future()
        await future

    def _on_connect(
        self, _client: mqtt.Client, _data: object, _flags: Any, reason: Any, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._down(f"the broker refuses us: {reason}")
            return
        self._limit = getattr(properties, "MaximumPacketSize", None)
        self.epoch += 1
        self.trouble = ""
        self._up_since = self._loop_now().time()
        self._down_again.clear()
        self.connected.set()
        self.on_up()

    def _on_disconnect(
        self, _client: mqtt.Client, _data: object, _flags: Any, reason: Any, _properties: object
    ) -> None:
        self._down_again.set()
        if self._loop_now().time() - self._up_since > STEADY:
            self._failures = 0
        self._up_since = math.inf
        self._news.set()
        if not self._closing.is_set():
            self._counts["reconnects"] += 1
            # A broker that refuses us says why first, and hangs up then.
            self._down(self.trouble or f"mqtt: disconnected: {reason}")

    def _down(self, trouble: str) -> None:
        if not self.trouble:
            log.warning("%s", trouble)
        self.trouble = trouble
        self.connected.clear()
        self._fail(trouble)

    def _fail(self, why: str) -> None:
        for waiting in (self._published, self._answered):
            for future in waiting.values():
                if not future.done():
                    future.set_exception(Unavailable(why))
            waiting.clear()

    def _on_publish(self, _client: mqtt.Client, _data: object, mid: int, reason: Any, _properties: object) -> None:
        future = self._published.pop(mid, None)
        if future is None or future.done():
            return
        if reason.is_failure:
            future.set_exception(Rejected(f"the broker refuses a message: {reason}"))
        else:
            future.set_result(None)

    def _on_answer(self, _client: mqtt.Client, _data: object, mid: int, reasons: Any, _properties: object) -> None:
        future = self._answered.pop(mid, None)
        if future is None or future.done():
            return
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            future.set_exception(Unavailable(f"the broker refuses a subscription: {', '.join(refused)}"))
        else:
            future.set_result(None)

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self.on_message(self.epoch, message)


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]
