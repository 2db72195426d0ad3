"""The Open Inference Protocol over HTTP, pictures in binary."""

import io
import ssl
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

import aiohttp
import tritonclient.http.aio as triton
from tritonclient.utils import InferenceServerException

from pipelines.backends.address import Address
from pipelines.backends.kserve import NotFound, Rejected
from pipelines.backends.kserve_grpc import is_loopback
from pipelines.backends.kserve_sharing import Sharing
from pipelines.backends.patience import NoAnswer
from pipelines.backends.tensors import ModelRef

T = TypeVar("T")
UNPACKED = {"Accept-Encoding": "identity"}
"""Else aiohttp offers to unpack, Triton packs, and a picture takes four times as long."""
NOT_NOW = ("429", "502", "503", "504")
LARGE = 2**20
"""Bytes of a request that are not sent in one piece."""
_FOREVER = 1e6
"""Seconds; ``Patience`` knows better when to stop waiting."""


class _Client(triton.InferenceServerClient):
    async def _post(self, request_uri: str, request_body: Any, headers: Any, query_params: Any) -> Any:
        """As a file: sent whole, megabytes would hold up the loop, and aiohttp complains of it."""
        if isinstance(request_body, bytes) and len(request_body) > LARGE:
            request_body = io.BytesIO(request_body)
        return await super()._post(request_uri, request_body, headers, query_params)


class Http(Sharing):
    """A pool of connections, made when it is first used, in the loop that uses it."""

    def __init__(self, address: Address) -> None:
        self._url = f"{address.host}:{address.port}"
        self._safe = address.scheme == "kserve+https"
        self.same_host = is_loopback(address.host)
        self._made: Any = None

    @property
    def _client(self) -> Any:
        if self._made is None:
            context = ssl.create_default_context() if self._safe else None
            self._made = _Client(self._url, conn_timeout=_FOREVER, ssl=self._safe, ssl_context=context)
        return self._made

    def input(self, name: str, shape: Sequence[int], datatype: str) -> Any:
        return triton.InferInput(name, list(shape), datatype)

    def output(self, name: str) -> Any:
        return triton.InferRequestedOutput(name, binary_data=True)

    async def ready(self) -> bool:
        return bool(await self._told(self._client.is_server_ready()))

    async def server(self) -> Mapping[str, Any]:
        return dict(await self._told(self._client.get_server_metadata()))

    async def model(self, name: str, version: str) -> Mapping[str, Any]:
        return dict(await self._told(self._client.get_model_metadata(name, version)))

    async def infer(
        self, ref: ModelRef, inputs: Sequence[Any], outputs: Sequence[Any] | None
    ) -> tuple[str, Mapping[str, Any], Any]:
        result = await self._told(
            self._client.infer(
                ref.name,
                list(inputs),
                model_version=ref.version,
                outputs=outputs and list(outputs),
                headers=dict(UNPACKED),
            )
        )
        said = result.get_response()
        return str(said.get("model_version", "")), {one["name"]: one for one in said.get("outputs", ())}, result

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()
            self._made = None

    @staticmethod
    async def _told(call: Awaitable[T]) -> T:
        """A call, its errors in the words of ``Wire``."""
        try:
            return await call
        except InferenceServerException as error:
            status, text = str(error.status() or ""), error.message() or str(error)
            if status == "404":
                raise NotFound(text) from error
            if status in NOT_NOW:
                raise NoAnswer(text) from error
            raise Rejected(text) from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise Rejected(f"the server's certificate is not trusted here: {error}") from error
        except ValueError as error:
            raise Rejected(f"what it said is not of KServe v2 ({error})") from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise NoAnswer(str(error)) from error
