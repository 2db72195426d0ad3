"""Tiles: a predictor that changes nothing must change nothing, whatever the size of the image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.nuclei.normalise import Plane
from pipelines.nuclei.tiling import GRAIN, TILE, WHOLE, Maps, spans, tiled

SIDES = st.one_of(st.integers(1, 300), st.integers(WHOLE - 2, WHOLE + 700))


def unchanged(plane: Plane) -> Maps:
    return np.stack([plane, 1 - plane, plane * 0.5])


@settings(max_examples=25, deadline=None)
@given(height=SIDES, width=SIDES, seed=st.integers(0, 9))
def test_the_identity_stays_the_identity_at_any_size(height: int, width: int, seed: int) -> None:
    plane = np.random.default_rng(seed).random((height, width), np.float32)

    maps = tiled(plane, unchanged)

    assert maps.shape == (3, height, width)
    np.testing.assert_allclose(maps, unchanged(plane), atol=1e-6)


@given(length=st.integers(1, 20_000))
def test_the_weights_of_every_pixel_add_up_to_one(length: int) -> None:
    total = np.zeros(max(length, GRAIN) + WHOLE)
    for span in spans(length):
        total[span.start : span.start + len(span.weights)] += span.weights

    np.testing.assert_allclose(total[:length], 1, atol=1e-6)


@pytest.mark.parametrize("side", [256, 512, 1024])
def test_common_sizes_are_predicted_in_one_piece_and_without_padding(side: int) -> None:
    seen = []

    def watched(plane: Plane) -> Maps:
        seen.append(plane.shape)
        return unchanged(plane)

    tiled(np.zeros((side, side), np.float32), watched)

    assert seen == [(side, side)]


def test_a_large_image_needs_one_shape_of_tile_and_no_seam_shows() -> None:
    shapes = set()

    def dark_at_its_rim(plane: Plane) -> Maps:
        shapes.add(plane.shape)
        ramp = np.linspace(0, 1, plane.shape[1], dtype=np.float32)
        return np.broadcast_to(ramp, (3, *plane.shape))

    maps = tiled(np.zeros((1500, 2000), np.float32), dark_at_its_rim)

    assert shapes == {(TILE, TILE)}
    assert np.abs(np.diff(maps[0], axis=1)).max() < 0.02
