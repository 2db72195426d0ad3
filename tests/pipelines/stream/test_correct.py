"""Corrections of frames against what they are said to be."""

import base64

import numpy as np
import pytest

from contracts.errors import BadRequest
from contracts.stream import Correction, Opening
from pipelines.stream.correct import Corrections


def corrections(shape: tuple[int, int, int] = (16, 12, 1), dtype: str = "uint8", **asked: object) -> Corrections:
    coded = {
        name: base64.b64encode(np.ascontiguousarray(value, np.dtype(dtype).newbyteorder("<")).tobytes()).decode()
        if isinstance(value, np.ndarray)
        else value
        for name, value in asked.items()
    }
    height, width, channels = shape
    opening = Opening(height=height, width=width, channels=channels, dtype=dtype, correction=Correction(**coded))
    return Corrections.of(opening)


def drawn(number: int = 5, shape: tuple[int, int, int] = (16, 12, 1), high: int = 256) -> np.ndarray:
    return np.random.default_rng(3).integers(0, high, (number, *shape)).astype(np.uint16 if high > 256 else np.uint8)


def test_frames_stay_as_they_are_where_nothing_is_asked() -> None:
    frames = drawn()
    assert corrections()(frames) is frames


def test_bytes_become_rows_columns_channels_in_little_endian() -> None:
    frames = drawn(3, (16, 12, 3), 65536)
    read = corrections((16, 12, 3), "uint16").frames([memoryview(one.astype("<u2").tobytes()) for one in frames])
    assert (read == frames).all()


def test_an_uneven_light_is_taken_out_and_the_mean_stays() -> None:
    light = np.linspace(0.5, 1.5, 12)[None, :, None] * np.ones((16, 1, 1))
    scene = 1000 + 500 * (np.indices((16, 12)).sum(axis=0) % 2)[..., None]
    dark = np.full((16, 12, 1), 100)
    flat = 100 + 2000 * light
    seen = (dark + scene * light).round().astype(np.uint16)

    found = corrections(dtype="uint16", flat=flat, dark=dark)(seen[None])

    assert found.dtype == np.float32
    assert found[0] == pytest.approx(scene, rel=2e-3)


def test_a_dead_pixel_of_the_flat_field_is_left_alone_and_a_dark_one_refused() -> None:
    flat = np.full((16, 12, 1), 100)
    flat[3, 4] = 0
    found = corrections(flat=flat)(np.full((1, 16, 12, 1), 50, np.uint8))
    assert np.isfinite(found).all()
    assert found[0, 3, 4] == 50
    with pytest.raises(BadRequest, match=r"correction\.flat is as dark as correction\.dark"):
        corrections(flat=np.zeros((16, 12, 1)))


def test_the_background_becomes_zero_or_one_by_the_median_of_the_edge() -> None:
    frame = np.full((16, 12, 1), 40, np.uint8)
    frame[6:10, 4:8] = 200
    frame[0, :3] = 255  # dirt
    assert corrections(background="subtract")(frame[None])[0, 8, 5] == 160
    divided = corrections(background="divide")(np.stack([frame, frame * 0]))
    assert divided[0, 8, 5] == 5
    assert divided[0, 12, 1] == 1
    assert (divided[1] == 0).all()


def test_contrast_brings_percentiles_to_zero_and_one_and_an_even_frame_to_zero() -> None:
    frames = np.concatenate([drawn(2), np.full((1, 16, 12, 1), 7, np.uint8)])
    found = corrections(contrast=True)(frames)
    for frame, stretched in zip(frames[:2], found[:2], strict=True):
        low, high = np.percentile(frame, (1, 99), method="nearest")
        assert stretched == pytest.approx(np.clip((frame - float(low)) / (high - low), 0, 1), abs=1e-5)
    assert (found[2] == 0).all()


def test_a_frame_is_corrected_alike_alone_and_among_others() -> None:
    flat = drawn(1, (16, 12, 3))[0] // 2 + 100
    mine = corrections((16, 12, 3), flat=flat, background="divide", contrast=True)
    frames = drawn(7, (16, 12, 3))
    together = mine(frames)
    for at in range(7):
        assert (mine(frames[at : at + 1])[0] == together[at]).all()
