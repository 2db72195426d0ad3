"""The whole build of the nuclei model on real images: INT8 within its limit."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="building needs the extra [train]: make test-train")
pytest.importorskip("nncf", reason="building needs the extra [train]: make test-train")

from pipelines.build import reported
from pipelines.build.reported import Contest, Order, Wanted
from tests.pipelines.test_nuclei_accuracy import DATA

pytestmark = [
    *(pytest.mark.heavy, pytest.mark.data),
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no images with ground truth at {DATA}; set CYTOBUS_DATA"),
]


@pytest.mark.parametrize("target", ["openvino-int8", "onnx-int8", "tensorrt-int8"])
def test_int8_keeps_the_accuracy_of_fp32_on_real_images(tmp_path: Path, target: str) -> None:
    order, contest = Order(engine=False), Contest(compared=False)

    outcome = reported.built(None, DATA, Wanted((target,), tmp_path), order, contest)

    assert not outcome.refused, str(outcome.refused)
    assert (outcome.folders[target] / "metadata.json").exists()
