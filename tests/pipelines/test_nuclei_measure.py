"""Measurements: those of scikit-image, nucleus by nucleus."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import ellipse
from skimage.measure import regionprops

from pipelines.nuclei.measure import as_csv, measure

SAME = {
    "area": "area",
    "perimeter": "perimeter",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
    "mean_intensity": "intensity_mean",
    "min_intensity": "intensity_min",
    "max_intensity": "intensity_max",
}


def ellipses(seed: int, count: int = 25, shape: tuple[int, int] = (150, 120)) -> np.ndarray:
    """Overlapping, clipped and ragged ellipses, numbered without gaps."""
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint16)
    for number in range(1, count + 1):
        centre, radii = random.integers(0, shape), random.integers(4, 16, 2)
        labels[ellipse(*centre, *radii, shape=shape, rotation=random.uniform(0, 3))] = number
    labels[random.random(shape) < 0.02] = 0
    big = np.bincount(labels.ravel()) >= 12
    big[0] = False
    return np.where(big, np.cumsum(big), 0)[labels].astype(np.uint16)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_every_column_is_that_of_scikit_image(seed: int) -> None:
    labels = ellipses(seed)
    intensity = np.random.default_rng(seed).integers(0, 60_000, labels.shape).astype(np.uint16)

    table = measure(labels, intensity)

    regions = regionprops(labels, intensity)
    assert table["id"].tolist() == [region.label for region in regions]
    for column, name in SAME.items():
        np.testing.assert_allclose(table[column], [getattr(region, name) for region in regions], rtol=1e-6, atol=1e-6)
    centroids = np.array([region.centroid for region in regions]).reshape(-1, 2)
    np.testing.assert_allclose(np.stack([table["centroid_y"], table["centroid_x"]], axis=1), centroids)
    np.testing.assert_allclose(table["integrated_intensity"], table["mean_intensity"] * table["area"])


def test_a_pixel_a_line_and_nothing_at_all_can_be_measured() -> None:
    labels = np.zeros((9, 12), np.uint16)
    labels[2, 2] = 1
    labels[5, 3:9] = 2

    table = measure(labels, labels)

    assert table["area"].tolist() == [1, 6]
    assert table["eccentricity"].tolist() == [0, 1]
    np.testing.assert_allclose(table["solidity"], 1)
    assert as_csv(measure(np.zeros((4, 4), np.uint16), np.zeros((4, 4)))).count("\n") == 1


def test_a_known_pixel_size_adds_columns_in_micrometres() -> None:
    labels = np.zeros((20, 20), np.uint16)
    labels[5:15, 5:15] = 1

    table = measure(labels, labels, (0.5, 0.5))

    assert table["area_um2"][0] == pytest.approx(25)
    assert table["centroid_y_um"][0] == pytest.approx(9.5 / 2)
    assert table["perimeter_um"][0] == pytest.approx(table["perimeter"][0] / 2)
    assert "perimeter_um" not in measure(labels, labels, (0.5, 0.25))


def test_the_table_is_csv() -> None:
    table = measure(ellipses(1), np.ones((150, 120)))

    rows = list(csv.DictReader(io.StringIO(as_csv(table))))

    assert len(rows) == len(table["id"])
    assert rows[3]["id"] == "4"
    assert float(rows[3]["solidity"]) == pytest.approx(table["solidity"][3], rel=1e-5)
