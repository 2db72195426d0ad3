"""kill -9 and power cuts while vectors are added, deleted, made into segments and merged: what was answered is there.

The program is killed at the n-th call that changes something on the disk, for n spread over all of them.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gateway.vectors.stored import Plan, StoredIndex
from tests.faults import power
from tests.faults.control import CHANGES, Action, Call, Control, Fault, why_not
from tests.gateway.vectors import adder

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"faults are not injected: {why_not()}")


class Killed:
    """One run of the program, and what it had answered when it ended."""

    def __init__(self, folder: Path, fault: Fault, *, powerless: bool = False) -> None:
        root, shadow = folder / "root", folder / "shadow"
        root.mkdir()
        shadow.mkdir()
        self.index = root / "index"
        control = Control(folder / "control")
        control.arm(fault)
        environment = os.environ | control.environment(root, shadow if powerless else None)
        command = [sys.executable, "-m", "tests.gateway.vectors.adder", str(self.index)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        self.said = set(done.stdout.splitlines())
        self.fired, self.where = control.fired, control.where
        assert self.fired or done.returncode == 0, done.stderr
        if powerless:
            power.cut(root, shadow, random.Random(fault.turn))

    def check(self) -> None:
        """All that was answered is as it was answered; the rest is there or not, each as a whole."""
        index = StoredIndex(self.index, adder.DIMENSION, Plan(unit=120))
        try:
            for piece in range(adder.PIECES):
                given, known = index.get(adder.ids(piece))
                first, rest = known[: adder.DELETED], known[adder.DELETED :]
                assert f"added {piece}" not in self.said or rest.all(), (piece, self.where)
                assert rest.all() or not rest.any(), (piece, self.where)
                assert f"deleted {piece}" not in self.said or not first.any(), (piece, self.where)
                assert first.all() or not first.any(), (piece, self.where)
                assert np.allclose(given[known], adder.kept(piece)[known], atol=1e-3)
            index.settle()
            assert index.troubles() == []
            found = index.search(adder.kept(0), 1).ids
            assert index.count() == 0 or (found >= 0).all()
        finally:
            index.close()


TURNS = [1, 9, 61, 150]
"""Of the calls that change something; there are more than four hundred."""


@pytest.mark.parametrize("turn", TURNS)
def test_kill_at_a_call_loses_nothing_that_was_answered(tmp_path, turn):
    killed = Killed(tmp_path, Fault(Action.KILL_AFTER if turn % 2 else Action.KILL_BEFORE, CHANGES, turn))
    assert killed.fired
    killed.check()


@pytest.mark.parametrize("turn", [30])
def test_a_record_that_was_torn_by_the_kill_is_no_damage(tmp_path, turn):
    killed = Killed(tmp_path, Fault(Action.TORN, (Call.WRITE,), turn, only="/log-"))
    assert killed.fired
    killed.check()


@pytest.mark.parametrize("turn", [12, 90])
def test_a_power_cut_loses_nothing_that_was_answered(tmp_path, turn):
    killed = Killed(tmp_path, Fault(Action.KILL_BEFORE, CHANGES, turn), powerless=True)
    assert killed.fired
    killed.check()


@pytest.mark.heavy
@pytest.mark.parametrize("powerless", [False, True])
@pytest.mark.parametrize("action", [Action.KILL_BEFORE, Action.KILL_AFTER])
def test_every_call_at_which_it_can_be_killed_is_survived(tmp_path, action, powerless):
    for turn in range(1, 1000):
        folder = tmp_path / str(turn)
        folder.mkdir()
        killed = Killed(folder, Fault(action, CHANGES, turn), powerless=powerless)
        killed.check()
        if not killed.fired:
            assert turn > 50
            return
    raise AssertionError("it never came to its end")
