"""The TensorFlow Serving API over gRPC, for OpenVINO Model Servers until 2026.2; later ones speak ``kserve`` only."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import grpc
import numpy as np
from ovmsclient.tfs_compat.base.errors import BadResponseError, InvalidInputError, ModelNotFoundError
from ovmsclient.tfs_compat.grpc.serving_client import GrpcClient
from ovmsclient.tfs_compat.grpc.tensors import TENSOR_TO_NP_MAP
from ovmsclient.tfs_compat.protos.tensorflow.core.framework.types_pb2 import DataType
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from pipelines.backends.address import Address
from pipelines.backends.errors import BadModel, Mismatch, Refused
from pipelines.backends.patience import NoAnswer, Patience
from pipelines.backends.tensors import Answer, Arrays, ModelRef, Signature, Tensor, check_inputs

T = TypeVar("T")
HEALTH_SECONDS = 2.0
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
CHANNEL = [
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class Ovms:
    """Models at such a server. Its client blocks, so each request has a thread."""

    def __init__(self, address: Address, patience: Patience) -> None:
        self._patience, self.place = patience, patience.place
        patience.alive = self.healthy
        self._channel = grpc.insecure_channel(f"{address.host}:{address.port}", CHANNEL)
        self._client = GrpcClient(self._channel, PredictionServiceStub(self._channel), ModelServiceStub(self._channel))
        self._loaded: dict[ModelRef, Signature] = {}

    def check(self) -> None:
        """Raises ``Unavailable`` while the server is known to be down."""
        self._patience.check()

    async def load(self, ref: ModelRef) -> Signature:
        """The server's own description. Raises ``BadModel``."""
        try:
            said = await self._ask(ref, partial(self._client.get_model_metadata, ref.name, _number(ref)))
        except ModelNotFoundError as error:
            raise BadModel(f"{ref} is not at {self.place} ({error}); name it in the server's config.json") from error
        except (InvalidInputError, BadResponseError) as error:
            raise BadModel(f"{ref} at {self.place} cannot be used: {error}; see the server's log") from error
        version = str(said["model_version"] or ref.version)
        signature = Signature(_tensors(ref, said["inputs"]), _tensors(ref, said["outputs"]), (version,))
        self._loaded[ref] = signature
        return signature

    async def infer(self, ref: ModelRef, inputs: Arrays) -> Answer:
        """One request, to the version that was described: the answer does not say which one gave it."""
        signature = self._loaded.get(ref) or await self.load(ref)
        try:
            return await self._infer(ref, signature, inputs)
        except ModelNotFoundError:
            # The server has retired this version since; without a version the newest is meant.
            self._loaded.pop(ref, None)
            signature = await self.load(ref)
        except (Mismatch, Refused):
            self._loaded.pop(ref, None)  # perhaps it is another model by now
            raise
        try:
            return await self._infer(ref, signature, inputs)
        except ModelNotFoundError as error:
            raise BadModel(f"{ref} is not at {self.place} any more ({error}); name it in its config.json") from error

    async def _infer(self, ref: ModelRef, signature: Signature, inputs: Arrays) -> Answer:
        check_inputs(ref, signature, inputs)
        version = signature.versions[-1]
        given = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        try:
            said = await self._ask(ref, partial(self._client.predict, given, ref.name, int(version or 0)))
        except (InvalidInputError, BadResponseError) as error:
            raise Refused(f"{ref} at {self.place} has refused the request: {error}") from error
        outputs = said if isinstance(said, Mapping) else {signature.outputs[0].name: said}
        return Answer(dict(outputs), version)

    async def healthy(self) -> bool:
        """Whether it answers: this API has no call for it, but who is there says that it has no such model."""
        ask = partial(self._client.get_model_metadata, "no-model", timeout=HEALTH_SECONDS)
        try:
            await asyncio.to_thread(ask)
        except ConnectionError as error:
            return _code(error) not in GONE
        except TimeoutError:
            return False
        except (ModelNotFoundError, InvalidInputError, BadResponseError):
            pass
        return True

    async def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    async def _ask(self, ref: ModelRef, call: Callable[..., T]) -> T:
        return await self._patience.call(str(ref), partial(self._once, call))

    async def _once(self, call: Callable[..., T]) -> T:
        try:
            return await asyncio.to_thread(call, timeout=self._patience.deadline)
        except ConnectionError as error:
            # The client calls everything so that it has no word for; only some of it means that nobody is there.
            if _code(error) in GONE:
                raise NoAnswer(str(error)) from error
            raise Refused(f"{self.place} has failed the request: {error}") from error


def _code(error: ConnectionError) -> Any:
    return getattr(error.__context__, "code", lambda: None)()


def _number(ref: ModelRef) -> int:
    if ref.version and not ref.version.isdecimal():
        raise BadModel(f"{ref}: versions of this API are numbers; set ?version= to one")
    return int(ref.version or 0)


def _tensors(ref: ModelRef, said: Mapping[str, Mapping[str, Any]]) -> tuple[Tensor, ...]:
    tensors = []
    for name, one in said.items():
        kind = TENSOR_TO_NP_MAP.get(DataType.Value(one["dtype"]))
        if kind is None:
            raise Mismatch(f"{ref}: {name!r} is of type {one['dtype']}, which numpy has not; export it as float")
        shape = tuple(int(side) if int(side) >= 0 else None for side in one["shape"])
        tensors.append(Tensor(name, np.dtype(kind).name, shape))
    return tuple(tensors)
