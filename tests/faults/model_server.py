"""A tiny model server, which is down at times."""

import socketserver
import threading

from tests.support.redis_server import free_port


class _Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        if self.server.is_up:  # type: ignore[attr-defined]
            self.request.sendall(b"model")


class ModelServer:
    """A tiny model server, which is down at times."""

    def __init__(self) -> None:
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", free_port()), _Answer)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.up()
        threading.Thread(target=self._server.serve_forever, name="model server", daemon=True).start()

    def up(self) -> None:
        self._server.is_up = True  # type: ignore[attr-defined]

    def down(self) -> None:
        """It hangs up on everybody."""
        self._server.is_up = False  # type: ignore[attr-defined]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
