"""A double of a server that takes requests in a stream, from the official definition of the protocol: ``y = 2 x``.

Negative numbers are refused. Where it ``swaps``, every second pair of answers comes the other way round.
"""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as rpc


class StreamingDouble(rpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """On a free port of 127.0.0.1 while the context is open."""

    def __init__(self, streams: bool = True) -> None:
        self.streams, self.streamed, self.alone, self.port = streams, 0, 0, 0
        self.swaps = False
        self.ends_after = 10**9
        """Requests after which a stream breaks off."""

    async def __aenter__(self) -> "StreamingDouble":
        self._server = grpc.aio.server()
        rpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ServerReadyResponse(ready=True)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        tensors = [pb.ModelMetadataResponse.TensorMetadata(name=name, datatype="FP32", shape=[-1, -1]) for name in "xy"]
        return pb.ModelMetadataResponse(name="m", versions=["1"], inputs=tensors[:1], outputs=tensors[1:])

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.alone += 1
        if (why := _refusal(request)) is not None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, why)
        return _answer(request)

    async def ModelStreamInfer(  # noqa: N802
        self, request_iterator: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[Any]:
        if not self.streams:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no streams")
        held, many = None, 0
        async for request in request_iterator:
            self.streamed += 1
            many += 1
            if many > self.ends_after:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the server goes")
            why = _refusal(request)
            answer = (
                pb.ModelStreamInferResponse(error_message=why)
                if why is not None
                else pb.ModelStreamInferResponse(infer_response=_answer(request))
            )
            if self.swaps and many % 4 == 3:  # held back until the next has come
                held = answer
                continue
            yield answer
            if held is not None:
                yield held
                held = None


def _refusal(request: Any) -> str | None:
    return "no negative numbers" if _numbers(request).min() < 0 else None


def _numbers(request: Any) -> np.ndarray:
    return np.frombuffer(request.raw_input_contents[0], np.float32).reshape(list(request.inputs[0].shape))


def _answer(request: Any) -> Any:
    made = 2 * _numbers(request)
    output = pb.ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=list(made.shape))
    return pb.ModelInferResponse(
        model_name="m", model_version="1", id=request.id, outputs=[output], raw_output_contents=[made.tobytes()]
    )
