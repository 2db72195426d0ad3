"""The parts of the spread world's fault machine do what they say, and a short run finds the promise kept."""

import contextlib
import gc
import shutil
import socket
import threading
import time

import httpx
import pytest

from tests.faults.audit import audit
from tests.faults.control import Control, Notices, why_not
from tests.faults.framing import Framing
from tests.faults.lines import Damage, Lines
from tests.faults.spread_machine import SpreadMachine
from tests.faults.test_faults import run
from tests.faults.trials import expected

POST = b"POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"


def pieces(blocks: list[bytes], *, bodiless: bool = False) -> list[tuple[bytes, bool, bool]]:
    framing = Framing()
    framing.bodiless = bodiless
    return [(piece.data, piece.head, piece.last) for block in blocks for piece in framing.feed(block)]


def test_heads_and_bodies_are_told_apart():
    head, body = POST[:-5], POST[-5:]
    assert pieces([POST]) == [(head, True, False), (body, False, True)]
    assert pieces([POST + POST]) == 2 * pieces([POST])
    assert pieces([POST[:20], POST[20:-3], POST[-3:]]) == [
        (head, True, False),
        (b"he", False, False),
        (b"llo", False, True),
    ]
    assert pieces([head], bodiless=True) == [(head, True, True)]
    assert pieces([b"HTTP/1.1 204 No Content\r\n\r\n"]) == [(b"HTTP/1.1 204 No Content\r\n\r\n", True, True)]


class Echo:
    """Answers each request with its body, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        framing, body = Framing(), b""
        with connection, contextlib.suppress(ConnectionError):
            while block := connection.recv(2**16):
                for piece in framing.feed(block):
                    body = b"" if piece.head else body + piece.data
                    if piece.last:
                        self.asked.append(body)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def echo():
    made = Echo()
    yield made
    made.close()


@pytest.fixture
def line(echo):
    lines = Lines()
    yield lines.open(echo.port, framed=True)
    lines.close()


def say(line, body: bytes = b"hello", path: str = "/x") -> bytes:
    return httpx.post(f"http://127.0.0.1:{line.port}{path}", content=body, timeout=10).content


def until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_good_line_changes_nothing(line, echo):
    big = bytes(range(256)) * 4000
    assert say(line, big) == big
    assert echo.asked == [big]


def test_lines_that_end_leave_no_socket_open_though_nobody_reads():
    """What a connection has in hand for a process that is stopped can never be sent."""
    lines = Lines()
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        line = lines.open(deaf.getsockname()[1])
        with socket.create_connection(("127.0.0.1", line.port)) as near:
            near.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                while True:
                    near.sendall(bytes(2**16))
        lines.close()
    gc.collect()  # one that is open complains, and a complaint is an error


@pytest.mark.parametrize("upwards", [True, False])
def test_one_bit_of_a_body_turns_once(line, echo, upwards):
    line.damages.append(Damage("flip", upwards, 3, "/x"))
    assert say(line, path="/elsewhere") == b"hello"
    answer = say(line)
    wrong = [one ^ other for one, other in zip(answer, b"hello", strict=True)]
    assert [bin(bits).count("1") for bits in wrong] == [0, 0, 0, 1, 0]
    assert (echo.asked[-1] != b"hello") == upwards
    assert say(line) == b"hello"
    assert line.met["flip"] == 1


@pytest.mark.parametrize("upwards", [True, False])
def test_a_body_loses_its_end_and_the_line_is_cut(line, upwards):
    line.damages.append(Damage("cut", upwards, 2))
    with pytest.raises(httpx.TransportError):
        say(line)
    assert say(line) == b"hello"


def test_a_request_is_said_twice(line, echo):
    line.for_seconds("twice", 60)
    assert say(line) == b"hello"
    until(lambda: len(echo.asked) == 2)
    assert echo.asked == [b"hello", b"hello"]


def test_nothing_gets_through_while_a_line_is_dark(line):
    line.for_seconds("dark", 4)
    assert say(line) == b"hello"
    assert not line.now("dark")
    assert line.met["dark"]


def job(name: str, state: str = "complete", reason: str = "") -> dict:
    return {"InputFile": {"Name": name}, "State": state, "Reason": reason}


@pytest.mark.parametrize(("jobs", "harm", "found"), [
    ([job("a.dat")], None, set()),
    ([job("a.dat")], lambda out: (out / "a-sum.txt").unlink(), {"lost: no result"}),
    ([job("a.dat")], lambda out: (out / "a-sum.txt").write_bytes(b"?"), {"corrupt"}),
    ([job("a.dat")], lambda out: (out / "a-sum (1).txt").touch(), {"duplicated: unknown results"}),
    ([job("a.dat")] * 2, None, {"duplicated: registered twice"}),
    ([job("a.dat"), job("b.dat")], None, {"registered, never dropped"}),
    ([], None, {"lost: not registered"}),
    ([job("a.dat", "failed")], None, {"failed"}),
    ([job("a.dat", "quarantined", "no")], shutil.rmtree, {"in quarantine without need"}),
])  # fmt: skip
def test_the_accounts_name_what_is_wrong(tmp_path, jobs, harm, found):
    for name, content in expected("a.dat", b"abc").items():
        (tmp_path / name).write_bytes(content)
    if harm is not None:
        harm(tmp_path)
    assert {what for what, names in audit({"a.dat": b"abc"}, jobs, tmp_path).items() if names} == found


def test_the_doomed_must_lie_in_quarantine_with_a_reason(tmp_path):
    content = {"poison-1.dat": b"abc"}
    held = audit(content, [job("poison-1.dat", "quarantined", "no")], tmp_path)
    assert not any(held.values())
    assert audit(content, [job("poison-1.dat", "quarantined")], tmp_path)["in quarantine without a reason"]
    assert audit(content, [job("poison-1.dat")], tmp_path)["came back, though doomed"]


@pytest.fixture
def page(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    return root, None, Control(tmp_path / "control")


shimmed = pytest.mark.skipif(bool(why_not()), reason=f"faults are not injected: {why_not()}")


@shimmed
@pytest.mark.parametrize("seconds", [-3600, 0, 3600])
def test_the_clock_on_the_wall_is_wrong_and_waits_are_not(page, seconds):
    page[2].step_clock(seconds)
    code = "import threading, time; threading.Event().wait(0.1); print(time.time())"
    begun = time.time()
    done = run(page, code)
    assert abs(float(done.stdout) - begun - seconds) < 30
    assert time.time() - begun < 30


WATCH = """
import ctypes
libc = ctypes.CDLL(None)
handle = libc.inotify_init()
libc.inotify_add_watch(handle, root.encode(), 0x100)
os.set_blocking(handle, False)
open(root + 'a', 'w').close()
try: print(len(os.read(handle, 4096)))
except BlockingIOError: print(0)
"""


@shimmed
@pytest.mark.parametrize(("notices", "size"), [
    (Notices.HEARD, 32), (Notices.DROPPED, 0), (Notices.DOUBLED, 64), (Notices.OVERFLOWN, 16),
])  # fmt: skip
def test_notifications_are_lost_doubled_or_overflow(page, notices, size):
    page[2].disturb(notices, 1)
    done = run(page, WATCH)
    assert done.stdout.split() == [str(size)], done.stderr
    assert page[2].disturbed == 1


@shimmed
@pytest.mark.system
@pytest.mark.parametrize(("faults", "kinds"), [(6, 4), pytest.param(12, 6, marks=pytest.mark.heavy)])
def test_the_promise_is_kept_by_services_of_their_own(tmp_path, faults, kinds):
    machine = SpreadMachine(tmp_path / "world", seed=11)
    machine.world.patience = 150  # the machine may have other things to do
    report = machine.run(faults)
    assert sum(report.faults.values()) >= faults
    assert len(report.faults) >= kinds
