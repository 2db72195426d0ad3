"""The fault machine: its parts do what they say, and a short run finds the promise kept."""

import errno
import json
import os
import random
import subprocess
import sys

import pytest

from tests.faults import power
from tests.faults.__main__ import PLANTED
from tests.faults.control import Action, Call, Control, Fault, why_not
from tests.faults.machine import Machine

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"faults are not injected: {why_not()}")


@pytest.fixture
def world(tmp_path):
    """A folder under faults, what is durable of it, and the page that arms them."""
    root, shadow = tmp_path / "root", tmp_path / "shadow"
    root.mkdir()
    shadow.mkdir()
    return root, shadow, Control(tmp_path / "control")


def run(world, code: str) -> subprocess.CompletedProcess[str]:
    root, shadow, control = world
    environment = os.environ | control.environment(root, shadow)
    return subprocess.run(
        [sys.executable, "-c", f"import os; os.chdir({str(root)!r}); root = os.getcwd() + '/'\n{code}"],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip


WRITE = "file = os.open(root + 'a', os.O_CREAT | os.O_WRONLY)\nfor n in range(3): os.write(file, b'x' * 10)\n"


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_call_fails_at_its_turn_and_not_before(world, turn):
    world[2].arm(Fault(Action.FAIL, (Call.WRITE,), turn, error=errno.ENOSPC))
    done = run(world, WRITE)
    assert "No space left on device" in done.stderr
    assert (world[0] / "a").stat().st_size == 10 * (turn - 1)
    assert (world[2].fired, world[2].where) == (1, str(world[0] / "a"))


@pytest.mark.parametrize(("action", "size"), [(Action.KILL_BEFORE, 10), (Action.TORN, 15), (Action.KILL_AFTER, 20)])
def test_a_process_dies_at_its_call(world, action, size):
    world[2].arm(Fault(action, (Call.WRITE,), 2))
    assert run(world, WRITE).returncode == -9
    assert (world[0] / "a").stat().st_size == size


def test_a_bit_is_turned(world):
    world[2].arm(Fault(Action.FLIP, (Call.WRITE,), 2))
    assert run(world, WRITE).returncode == 0
    content = (world[0] / "a").read_bytes()
    assert sum(byte != ord("x") for byte in content) == 1


def test_files_elsewhere_are_left_alone(world, tmp_path):
    world[2].arm(Fault(Action.FAIL, (Call.WRITE, Call.CREATE), 1, error=errno.EIO, times=99))
    done = run(world, f"open({str(tmp_path / 'b')!r}, 'w').write('fine')")
    assert done.returncode == 0, done.stderr
    assert world[2].seen()[Call.WRITE] == 0


SYNCED = "os.fsync(file); folder = os.open(root, os.O_RDONLY); os.fsync(folder)\n"


@pytest.mark.parametrize(("code", "left"), [
    (WRITE, {}),
    (WRITE + "os.fsync(file)", {}),
    (WRITE + SYNCED, {"a": 30}),
    (WRITE + SYNCED + "os.write(file, b'more')", {"a": 30}),
    (WRITE + SYNCED + "os.rename(root + 'a', root + 'b')", {"a": 30}),
    (WRITE + SYNCED + "os.rename(root + 'a', root + 'b'); os.fsync(folder)", {"b": 30}),
    (WRITE + SYNCED + "os.unlink(root + 'a')", {"a": 30}),
    (WRITE + SYNCED + "os.mkdir(root + 'c')", {"a": 30}),
    (WRITE + SYNCED + "os.link(root + 'a', root + 'b'); os.fsync(folder)", {"a": 30, "b": 30}),
])  # fmt: skip
def test_a_power_cut_takes_what_was_not_synced(world, monkeypatch, code, left):
    monkeypatch.setattr(power, "WRITTEN_ANYWAY", 0)
    root, shadow, _ = world
    done = run(world, code)
    assert done.returncode == 0, done.stderr
    power.cut(root, shadow, random.Random(1))
    assert {path.name: path.stat().st_size for path in root.iterdir()} == left


@pytest.mark.system
@pytest.mark.parametrize(("faults", "kinds"), [(8, 4), pytest.param(20, 6, marks=pytest.mark.heavy)])
def test_the_promise_is_kept_under_faults(tmp_path, faults, kinds):
    machine = Machine(tmp_path / "world", seed=7)
    machine.world.patience = 150  # the machine may have other things to do
    report = machine.run(faults)
    assert sum(report.faults.values()) >= faults
    assert len(report.faults) >= kinds


PLANT = """
import json, os, runpy, sys
import compose.cli, compose.edge, compose.gateway, compose.pipelines, compose.running  # once, then each is a copy
found = {}
for name, module in json.load(sys.stdin).items():
    if not (child := os.fork()):
        os.dup2(2, 1)  # what it prints is not the answer
        sys.argv = [module, name, "--help"]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        os._exit(99)  # the command would have ended
    found[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(found))
"""


def test_each_mistake_can_still_be_planted():
    """They reach into the product, which moves."""
    done = subprocess.run([sys.executable, "-c", PLANT], input=json.dumps(PLANTED), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == dict.fromkeys(PLANTED, 0), done.stderr
