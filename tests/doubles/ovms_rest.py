"""How the double of OpenVINO Model Server answers over HTTP."""

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from tests.doubles.ovms_models import Models, Wrong, model_metadata


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


class Server(ThreadingHTTPServer):
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
