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


def test_int8_by_openvino_keeps_the_accuracy_of_fp32_and_is_published(tmp_path: Path) -> None:
    outcome = reported.built(None, DATA, Wanted(("openvino-int8",), tmp_path), Order(), Contest(compared=False))

    assert not outcome.refused, str(outcome.refused)
    assert (outcome.folders["openvino-int8"] / "metadata.json").exists()


@pytest.mark.parametrize("target", ["onnx-int8", "tensorrt-int8"])
def test_other_int8_is_close_and_published_only_within_the_limit(tmp_path: Path, target: str) -> None:
    order = Order(engine=False)

    outcome = reported.built(None, DATA, Wanted((target,), tmp_path), order, Contest(compared=False))

    (row,) = [row for row in outcome.report.rows if row.name == target]
    assert row.loss <= 0.004
    assert (target in outcome.folders) == (row.loss <= order.limit)
