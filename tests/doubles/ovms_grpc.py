"""How the double of OpenVINO Model Server answers over gRPC: KServe's protocol, and TensorFlow Serving's."""

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from ovmsclient.tfs_compat.grpc.tensors import NP_TO_TENSOR_MAP, make_ndarray, make_tensor_proto
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import get_model_metadata_pb2 as tfs_meta
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import predict_pb2 as tfs_predict
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import prediction_service_pb2_grpc as tfs
from tritonclient.grpc import service_pb2 as kserve
from tritonclient.grpc import service_pb2_grpc as kserve_grpc
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from tests.doubles.ovms_models import Models, Wrong, described, model_metadata

WORDS = {404: grpc.StatusCode.NOT_FOUND, 400: grpc.StatusCode.INVALID_ARGUMENT, 500: grpc.StatusCode.INTERNAL}


def telling(method: Callable[..., Any]) -> Callable[..., Any]:
    """Errors as gRPC has them."""

    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request)
        except Wrong as error:
            context.abort(WORDS[error.status], str(error))

    return call


class KServeOverGrpc(kserve_grpc.GRPCInferenceServiceServicer):
    """The seven calls that the server has of the protocol; all others are unimplemented."""

    def __init__(self, models: Models) -> None:
        self.models = models

    @telling
    def ServerLive(self, request: Any) -> Any:  # noqa: N802
        return kserve.ServerLiveResponse(live=True)

    @telling
    def ServerReady(self, request: Any) -> Any:  # noqa: N802
        return kserve.ServerReadyResponse(ready=True)

    @telling
    def ModelReady(self, request: Any) -> Any:  # noqa: N802
        self.models.find(request.name, int(request.version or 0))
        return kserve.ModelReadyResponse(ready=True)

    @telling
    def ServerMetadata(self, request: Any) -> Any:  # noqa: N802
        return kserve.ServerMetadataResponse(name="OpenVINO Model Server (double)", version="2026.3")

    @telling
    def ModelMetadata(self, request: Any) -> Any:  # noqa: N802
        return kserve.ModelMetadataResponse(**model_metadata(self.models, request.name, int(request.version or 0)))

    @telling
    def ModelInfer(self, request: Any) -> Any:  # noqa: N802
        pairs = zip(request.inputs, request.raw_input_contents, strict=True)
        inputs = {
            one.name: np.frombuffer(raw, triton_to_np_dtype(one.datatype)).reshape(list(one.shape))
            for one, raw in pairs
        }
        version, outputs = self.models.infer(request.model_name, int(request.model_version or 0), inputs)
        answer = kserve.ModelInferResponse(model_name=request.model_name, model_version=str(version), id=request.id)
        for name, array in outputs.items():
            answer.outputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
            answer.raw_output_contents.append(array.tobytes())
        return answer


class TensorFlowServing(tfs.PredictionServiceServicer):
    """What the server had until 2026.2."""

    def __init__(self, models: Models) -> None:
        self.models = models

    @telling
    def Predict(self, request: Any) -> Any:  # noqa: N802
        inputs = {name: make_ndarray(tensor) for name, tensor in request.inputs.items()}
        version, outputs = self.models.infer(request.model_spec.name, request.model_spec.version.value, inputs)
        answer = tfs_predict.PredictResponse()
        answer.model_spec.name, answer.model_spec.version.value = request.model_spec.name, version
        for name, array in outputs.items():
            answer.outputs[name].CopyFrom(make_tensor_proto(array))
        return answer

    @telling
    def GetModelMetadata(self, request: Any) -> Any:  # noqa: N802
        version, model = self.models.find(request.model_spec.name, request.model_spec.version.value)
        table = tfs_meta.SignatureDefMap()
        signature = table.signature_def["serving_default"]
        for ports, infos in ((model.inputs, signature.inputs), (model.outputs, signature.outputs)):
            for one in described(ports):
                info = infos[one["name"]]
                info.dtype = NP_TO_TENSOR_MAP[triton_to_np_dtype(one["datatype"])].TensorDtype
                for side in one["shape"]:
                    info.tensor_shape.dim.add(size=side)
        answer = tfs_meta.GetModelMetadataResponse()
        answer.model_spec.name, answer.model_spec.version.value = request.model_spec.name, version
        answer.metadata["signature_def"].Pack(table)
        return answer
