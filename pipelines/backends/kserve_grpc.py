"""The Open Inference Protocol over gRPC."""

import ipaddress
import logging
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from pipelines.backends.address import Address
from pipelines.backends.kserve import NotFound, Rejected
from pipelines.backends.kserve_sharing import Sharing
from pipelines.backends.kserve_stream import AskAlone, Stream
from pipelines.backends.patience import NoAnswer
from pipelines.backends.tensors import ModelRef

log = logging.getLogger(__name__)
T = TypeVar("T")
LARGEST = 2**31 - 1
CHANNEL = [
    ("grpc.max_send_message_length", LARGEST),
    ("grpc.max_receive_message_length", LARGEST),
    # gRPC's own pause would grow to two minutes, in which a server that is back is not noticed.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # As for the other places: what a proxy for the web would do with it is not meant.
    ("grpc.enable_http_proxy", 0),
    # Each backend has a connection of its own, also to the same server.
    ("grpc.use_local_subchannel_pool", 1),
]


class Grpc(Sharing):
    """One connection, made when it is first used, in the loop that uses it."""

    def __init__(self, address: Address) -> None:
        self._url = f"{address.host}:{address.port}"
        self.same_host = is_loopback(address.host)
        self._made: Any = None
        self._streams = address.text("stream", "off", ("on", "off")) == "on"
        self._stream: Stream | None = None

    @property
    def _client(self) -> Any:
        if self._made is None:
            self._made = triton.InferenceServerClient(self._url, channel_args=CHANNEL)
        return self._made

    def input(self, name: str, shape: Sequence[int], datatype: str) -> Any:
        return triton.InferInput(name, list(shape), datatype)

    def output(self, name: str) -> Any:
        return triton.InferRequestedOutput(name)

    async def ready(self) -> bool:
        return bool(await self._told(self._client.is_server_ready()))

    async def server(self) -> Mapping[str, Any]:
        return _plain(await self._told(self._client.get_server_metadata(as_json=True)))

    async def model(self, name: str, version: str) -> Mapping[str, Any]:
        return _plain(await self._told(self._client.get_model_metadata(name, version, as_json=True)))

    async def infer(
        self, ref: ModelRef, inputs: Sequence[Any], outputs: Sequence[Any] | None
    ) -> tuple[str, Mapping[str, Any], Any]:
        result = await self._answered(ref, inputs, outputs and list(outputs))
        said = result.get_response()
        described = {one.name: {"datatype": one.datatype, "shape": list(one.shape)} for one in said.outputs}
        return said.model_version, described, result

    async def _answered(self, ref: ModelRef, inputs: Sequence[Any], outputs: Sequence[Any] | None) -> Any:
        if self._streams:
            self._stream = self._stream or Stream(self._client)
            request = {"model_name": ref.name, "model_version": ref.version, "inputs": list(inputs), "outputs": outputs}
            try:
                return await self._stream.infer(request)
            except AskAlone as error:
                self._streams = not error.for_good
                log.info("a request to %s is asked again by itself: %s", self._url, error)
        return await self._told(
            self._client.infer(ref.name, list(inputs), model_version=ref.version, outputs=outputs and list(outputs))
        )

    async def close(self) -> None:
        if self._stream is not None:
            await self._stream.close()
            self._stream = None
        if self._made is not None:
            await self._made.close()
            self._made = None

    @staticmethod
    async def _told(call: Awaitable[T]) -> T:
        """A call, its errors in the words of ``Wire``."""
        try:
            return await call
        except InferenceServerException as error:
            status = str(error.status() or "").removeprefix("StatusCode.")
            text = error.message() or status
            if status == "DEADLINE_EXCEEDED":
                raise TimeoutError(text) from error
            if status == "NOT_FOUND":
                raise NotFound(text) from error
            if status in ("UNAVAILABLE", "CANCELLED"):  # cancelled by the server, which is being stopped
                raise NoAnswer(text) from error
            raise Rejected(text) from error


def is_loopback(host: str) -> bool:
    """Whether this is the very machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _plain(said: Any) -> Mapping[str, Any]:
    return said if isinstance(said, Mapping) else {}
