"""A DOUBLE of OpenVINO Model Server: its binary is not in any package registry.

It is made of the official protocol definitions (KServe's, as tritonclient ships them, and TensorFlow Serving's, as
ovmsclient ships them) and of the server's documentation, over OpenVINO. It was never compared with a real server, and
cannot show that one behaves so. It shares no code with the product.
"""

import json
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import openvino as ov
from ovmsclient.tfs_compat.grpc.tensors import NP_TO_TENSOR_MAP, make_ndarray, make_tensor_proto
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import get_model_metadata_pb2 as tfs_meta
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import predict_pb2 as tfs_predict
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import prediction_service_pb2_grpc as tfs
from tritonclient.grpc import service_pb2 as kserve
from tritonclient.grpc import service_pb2_grpc as kserve_grpc
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from tests.support.redis_server import free_port

WORDS = {404: grpc.StatusCode.NOT_FOUND, 400: grpc.StatusCode.INVALID_ARGUMENT, 500: grpc.StatusCode.INTERNAL}


class Wrong(Exception):
    """What a client has done wrong, as an HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Models:
    """What ``config.json`` names, in the versions that its policies choose."""

    def __init__(self, config: Path) -> None:
        self._config, self._core, self._lock = config, ov.Core(), threading.Lock()
        self._compiled: dict[tuple[str, int], Any] = {}
        self.reload()

    def reload(self) -> bool:
        """Read the configuration and the folders anew; whether anything is different."""
        wanted: dict[tuple[str, int], Path] = {}
        for entry in json.loads(self._config.read_text())["model_config_list"]:
            one = entry["config"]
            there = sorted(int(p.name) for p in Path(one["base_path"]).iterdir() if p.name.isdecimal())
            policy = one.get("model_version_policy", {"latest": {"num_versions": 1}})
            if "specific" in policy:
                there = [version for version in there if version in policy["specific"]["versions"]]
            elif "latest" in policy:
                there = there[-policy["latest"]["num_versions"] :]
            wanted |= {(one["name"], version): Path(one["base_path"]) / str(version) for version in there}
        fresh = {}
        for key, path in wanted.items():
            if key not in self._compiled:
                with suppress(RuntimeError):  # what cannot be read is not served; the others are
                    settings = {"INFERENCE_PRECISION_HINT": "f32"}
                    fresh[key] = self._core.compile_model(path / "model.xml", "CPU", settings)
        with self._lock:
            kept = {key: model for key, model in self._compiled.items() if key in wanted}
            changed = bool(fresh) or len(kept) != len(self._compiled)
            self._compiled = kept | fresh
        return changed

    def find(self, name: str, version: int) -> tuple[int, Any]:
        """A model by version; 0: the newest."""
        with self._lock:
            there = self.versions(name)
            if not there:
                raise Wrong(404, "Model with requested name is not found")
            version = version or there[-1]
            if version not in there:
                raise Wrong(404, "Model with requested version is not found")
            return version, self._compiled[name, version]

    def versions(self, name: str) -> list[int]:
        return sorted(version for known, version in self._compiled if known == name)

    def status(self) -> dict[str, Any]:
        """The answer of ``/v1/config``."""
        good = {"error_code": "OK", "error_message": "OK"}
        return {
            name: {
                "model_version_status": [
                    {"version": str(version), "state": "AVAILABLE", "status": good} for version in self.versions(name)
                ]
            }
            for name in sorted({name for name, _ in self._compiled})
        }

    def infer(self, name: str, version: int, inputs: Mapping[str, np.ndarray]) -> tuple[int, dict[str, np.ndarray]]:
        version, model = self.find(name, version)
        known = {port.get_any_name(): port for port in model.inputs}
        if known.keys() != inputs.keys():
            raise Wrong(400, f"Invalid input names - Expected: {sorted(known)}; Actual: {sorted(inputs)}")
        for key, array in inputs.items():
            if known[key].get_element_type().to_dtype() != array.dtype:
                raise Wrong(400, f"Invalid input precision - Expected: FP32; Actual: {array.dtype}")
            if not known[key].get_partial_shape().compatible(ov.PartialShape(list(array.shape))):
                raise Wrong(400, f"Invalid input shape - Actual: {array.shape}")
        made = model.create_infer_request().infer(dict(inputs))
        return version, {port.get_any_name(): np.array(made[port]) for port in model.outputs}


def described(ports: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": port.get_any_name(),
            "datatype": np_to_triton_dtype(port.get_element_type().to_dtype()),
            "shape": [side.get_length() if side.is_static else -1 for side in port.get_partial_shape()],
        }
        for port in ports
    ]


def model_metadata(models: Models, name: str, version: int) -> dict[str, Any]:
    number, model = models.find(name, version)
    versions = [str(version) for version in models.versions(name)] if not version else [str(number)]
    ports = {"inputs": described(model.inputs), "outputs": described(model.outputs)}
    return {"name": name, "versions": versions, "platform": "OpenVINO", **ports}


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


class Rest(BaseHTTPRequestHandler):
    """KServe over HTTP with tensors in binary, and the server's own ``/v1/config``."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        self._answered(self._get)

    def do_POST(self) -> None:
        self._answered(self._post)

    def _answered(self, act: Callable[[Models, bytes], tuple[int, bytes, dict[str, str]]]) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            status, content, headers = act(self.server.models, body)  # type: ignore[attr-defined]
        except Wrong as error:
            status, content, headers = error.status, json.dumps({"error": str(error)}).encode(), {}
        self.send_response(status)
        for name, value in (
            {"Content-Type": "application/json", "Content-Length": str(len(content))} | headers
        ).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _get(self, models: Models, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        parts = self.path.strip("/").split("/")
        match parts:
            case ["v1", "config"]:
                return 200, json.dumps(models.status()).encode(), {}
            case ["v2", "health", "live" | "ready"]:
                return 200, b"", {}
            case ["v2"]:
                return 200, json.dumps({"name": "OpenVINO Model Server (double)", "version": "2026.3"}).encode(), {}
            case ["v2", "models", name, *rest] if rest[:1] in ([], ["versions"]):
                return 200, json.dumps(model_metadata(models, name, int(rest[1]) if rest else 0)).encode(), {}
        raise Wrong(404, "Invalid request URL")

    def _post(self, models: Models, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        parts = self.path.strip("/").split("/")
        match parts:
            case ["v1", "config", "reload"]:
                return (201 if models.reload() else 200), json.dumps(models.status()).encode(), {}
            case ["v2", "models", name, "infer"]:
                return self._infer(models, name, 0, body)
            case ["v2", "models", name, "versions", version, "infer"]:
                return self._infer(models, name, int(version), body)
        raise Wrong(404, "Invalid request URL")

    def _infer(self, models: Models, name: str, version: int, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        self.server.offers.append(self.headers.get("Accept-Encoding", ""))  # type: ignore[attr-defined]
        length = int(self.headers["Inference-Header-Content-Length"])
        asked, rest, inputs = json.loads(body[:length]), body[length:], {}
        for one in asked["inputs"]:
            size = one["parameters"]["binary_data_size"]
            inputs[one["name"]] = np.frombuffer(rest[:size], triton_to_np_dtype(one["datatype"])).reshape(one["shape"])
            rest = rest[size:]
        number, outputs = models.infer(name, version, inputs)
        said = [
            {
                "name": key,
                "datatype": np_to_triton_dtype(array.dtype),
                "shape": array.shape,
                "parameters": {"binary_data_size": array.nbytes},
            }
            for key, array in outputs.items()
        ]
        head = json.dumps({"model_name": name, "model_version": str(number), "outputs": said}).encode()
        content = head + b"".join(array.tobytes() for array in outputs.values())
        kind = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
        return 200, content, kind


class _Server(ThreadingHTTPServer):
    """One that hangs up on everybody when it is stopped."""

    daemon_threads = True

    def __init__(self, port: int, models: Models) -> None:
        super().__init__(("127.0.0.1", port), Rest)
        self.models = models
        self.offers: list[str] = []
        """In which ways clients can unpack answers to inferences."""
        self._lines: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._lines.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        self._lines.discard(request)
        super().close_request(request)

    def stop(self) -> None:
        self.shutdown()
        for line in list(self._lines):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        self.server_close()


class OvmsDouble:
    """The double, on free ports; ``stop`` and ``start`` make it go away and come back."""

    def __init__(self, config: Path) -> None:
        self._config, self.models = config, Models(config)
        self.grpc_port, self.http_port = free_port(), free_port()
        self.start()

    def start(self) -> None:
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
        self._grpc = grpc.server(ThreadPoolExecutor(4, "ovms-double"), options=options)
        kserve_grpc.add_GRPCInferenceServiceServicer_to_server(KServeOverGrpc(self.models), self._grpc)
        tfs.add_PredictionServiceServicer_to_server(TensorFlowServing(self.models), self._grpc)
        self._grpc.add_insecure_port(f"127.0.0.1:{self.grpc_port}")
        self._grpc.start()
        self._http = _Server(self.http_port, self.models)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), name="ovms-double", daemon=True).start()

    def stop(self) -> None:
        self._grpc.stop(0).wait()
        self._http.stop()

    def restart(self) -> None:
        """All files are read anew."""
        self.stop()
        self.models = Models(self._config)
        self.start()

    @property
    def offers(self) -> list[str]:
        return self._http.offers

    def address(self, kind: str) -> str:
        """As a setting of ``pipelines.backends``; kind is grpc, http or tfs."""
        if kind == "tfs":
            return f"ovms://127.0.0.1:{self.grpc_port}"
        return f"kserve+{kind}://127.0.0.1:{self.grpc_port if kind == 'grpc' else self.http_port}"
