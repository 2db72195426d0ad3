"""What is computed here is told to nobody."""

import os
import subprocess
import sys

import pytest

CONVERTED = """
import contextlib
import sys

import pipelines
import openvino

with contextlib.suppress(Exception):  # there is no such model; it would have been told before that is seen
    openvino.convert_model(sys.argv[1] + "/none.onnx")
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""


def test_a_conversion_by_openvino_leaves_no_trace_of_its_telemetry(tmp_path):
    """It would make an id of this user, in their home, and send it off."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    environment = {**os.environ, "HOME": str(home), "USERPROFILE": str(home), "CI": ""}
    done = subprocess.run([sys.executable, "-c", CONVERTED, work], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []


def test_nncf_tells_nothing(tmp_path):
    pytest.importorskip("nncf", reason="the training packages are not installed (make test-train has them)")
    program = "import sys, pipelines, nncf; assert not [n for n in sys.modules if n.startswith('openvino_telemetry.')]"
    environment = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "CI": ""}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
