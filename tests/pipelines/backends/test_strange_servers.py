"""An address at which something else listens than was thought is an error that says so, never one without a word."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipelines.backends.address import parsed
from pipelines.backends.blocking import Blocking
from pipelines.backends.errors import BadModel
from pipelines.backends.factory import backend
from pipelines.backends.openvino import repository
from pipelines.backends.tensors import ModelRef

SAID = {
    "a web page": b"<html>welcome</html>",
    "an empty object": b"{}",
    "a list": b"[]",
    "half of a description": b'{"name": "nuclei", "versions": ["1"], "routes": [{"route": "/nuclei"}], "inputs": []}',
    "nothing": b"",
}


@pytest.fixture(params=SAID)
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Of a server that says this to everybody."""
    said = SAID[request.param]

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", ["kserve+http", "bentoml+http"])
def test_what_is_no_model_server_is_named_as_such(port: int, kind: str, tmp_path: Path) -> None:
    asked = Blocking(backend(parsed(f"{kind}://127.0.0.1:{port}?retries=0"), repository(tmp_path)))
    try:
        with pytest.raises(BadModel, match=rf"{kind.replace('+', '.')}://127\.0\.0\.1:{port}.*(KServe v2|BentoML)"):
            asked.load(ModelRef("nuclei"))
    finally:
        asked.close()
