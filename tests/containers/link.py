"""The line between two hosts: passes on what one side sends to the other's ports, and can be cut."""

import contextlib
import socket
import threading


class Link:
    """Listens on an address and passes each connection on. Connections go one way only: to the gateway."""

    def __init__(self, address: str, ports: dict[int, int], target: str = "127.0.0.1") -> None:
        """``ports``: port to listen on -> port of the target to which it leads."""
        self._target = target
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._cut = False
        self._listeners = []
        for port, target in ports.items():
            listener = socket.create_server((address, port))
            self._listeners.append(listener)
            threading.Thread(target=self._serve, args=(listener, target), daemon=True).start()

    def cut(self) -> None:
        """Nothing goes through, and what is open breaks."""
        with self._lock:
            self._cut = True
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._cut = False

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        self.cut()

    def _serve(self, listener: socket.socket, target: int) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            if self._cut:
                near.close()
                continue
            try:
                far = socket.create_connection((self._target, target), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._open |= {near, far}
            for here, there in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(here, there), daemon=True).start()

    def _pass(self, here: socket.socket, there: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := here.recv(65536):
                there.sendall(data)
        for sock in (here, there):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open -= {here, there}
        here.close()
