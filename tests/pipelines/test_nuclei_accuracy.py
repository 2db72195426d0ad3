"""The shipped models against real images with ground truth, where these are at hand; the metrics always."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.training.evaluate import evaluate, table
from pipelines.training.metrics import Match, match, summarise

BESIDE = Path(__file__).parents[2].parent / "shared" / "data" / "dsb2018"
DATA = Path(os.environ.get("CYTOBUS_DATA", BESIDE))


def labels(*rows: str) -> np.ndarray:
    return np.array([[int(mark) for mark in row] for row in rows], np.uint16)


def test_a_hit_needs_more_than_half_of_the_union() -> None:
    truth = labels("1110", "0000", "2220", "0333")
    found = labels("1100", "0000", "2000", "0333")

    result = match(truth, found, (0.5, 0.75))

    assert result == Match(3, 3, (2, 1))
    assert result.f1() == pytest.approx(4 / 6)
    assert result.precision(1) == pytest.approx(1 / 5)


def test_exactly_half_is_no_hit_so_that_nothing_is_matched_twice() -> None:
    assert match(labels("11"), labels("12"), (0.5,)).hits == (0,)
    with pytest.raises(ValueError, match=r"below 0\.5"):
        match(labels("1"), labels("1"), (0.4,))


def test_nothing_found_where_nothing_is_counts_as_perfect() -> None:
    nothing = np.zeros((3, 3), np.uint16)

    assert match(nothing, nothing).f1() == 1
    assert match(nothing, nothing).count_error == 0
    assert match(labels("1"), labels("0")).f1() == 0


def test_the_mean_is_over_images_and_the_pool_over_objects() -> None:
    summary = summarise([Match(1, 1, (1,)), Match(9, 9, (0,))], (0.5,))

    assert summary.f1 == pytest.approx(0.5)
    assert summary.f1_pooled == pytest.approx(0.1)
    assert (summary.images, summary.objects, summary.count_error) == (2, 10, 0)


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no images with ground truth at {DATA}; set CYTOBUS_DATA")
def test_the_shipped_models_keep_their_promises_on_the_test_split(tmp_path: Path) -> None:
    report = evaluate(DATA, "test", json_file=tmp_path / "report.json")

    fluo = {name: judgement["groups"]["fluo"] for name, judgement in report["precisions"].items()}
    assert (tmp_path / "report.json").stat().st_size > 1000
    assert table(report).row_count == 6
    for figures in fluo.values():
        assert figures["f1"] >= 0.90
        assert figures["count_error"] <= 0.05
    # It was 0.0005 where the model was built; a single nucleus of a small image may fall otherwise on other processors.
    assert fluo["fp32"]["f1"] - fluo["int8"]["f1"] <= 0.002 * fluo["fp32"]["f1"]
