"""A DOUBLE of OpenVINO Model Server: its binary is not in any package registry.

It is made of the official protocol definitions (KServe's, as tritonclient ships them, and TensorFlow Serving's, as
ovmsclient ships them) and of the server's documentation, over OpenVINO. It was never compared with a real server, and
cannot show that one behaves so. It shares no code with the product.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import prediction_service_pb2_grpc as tfs
from tritonclient.grpc import service_pb2_grpc as kserve_grpc

from tests.doubles.ovms_grpc import KServeOverGrpc, TensorFlowServing
from tests.doubles.ovms_models import Models
from tests.doubles.ovms_rest import Server
from tests.support.redis_server import free_port


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
        self._http = Server(self.http_port, self.models)
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
