"""Corrections of frames while they come: uneven light, background, contrast; vectorised over a batch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.errors import BadRequest
from contracts.stream import Opening, reference

Frames = NDArray[Any]
EDGE = 2
"""Width of the ring at a frame's edge in which its background is looked for, pixels."""
LOW, HIGH = 1, 99
"""Percentiles that contrast stretching brings to 0 and 1."""
DARKEST = 1e-3
"""Share of the mean light below which a pixel of the flat field is called dead, and left as it is."""


@dataclass(frozen=True)
class Corrections:
    """What is done to the frames of one connection. ``dark`` is subtracted and ``gain`` multiplied, float32 (H, W, C).

    Flat-field correction: (frame - dark) * mean(flat - dark) / (flat - dark), the mean of each channel.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    dark: NDArray[np.float32] | None = None
    gain: NDArray[np.float32] | None = None
    background: str = "none"
    contrast: bool = False

    @classmethod
    def of(cls, opening: Opening) -> "Corrections":
        """As an opening asks. Raises ``BadRequest`` for references that are none."""
        shape = opening.height, opening.width, opening.channels
        dtype = np.dtype(opening.dtype).newbyteorder("<")
        asked = opening.correction
        dark, flat = (
            np.frombuffer(pixels, dtype).reshape(shape).astype(np.float32) if pixels else None
            for pixels in (reference(asked.dark, opening, "dark"), reference(asked.flat, opening, "flat"))
        )
        gain = None if flat is None else _gain(flat if dark is None else flat - dark)
        return cls(shape, dtype, dark, gain, asked.background, asked.contrast)

    @property
    def none(self) -> bool:
        """Whether frames stay as they are."""
        return self.dark is None and self.gain is None and self.background == "none" and not self.contrast

    def frames(self, pixels: list[memoryview | bytes]) -> Frames:
        """Frames as they were sent, (N, H, W, C)."""
        return np.frombuffer(b"".join(pixels), self.dtype).reshape(-1, *self.shape)

    def __call__(self, frames: Frames) -> Frames:
        """Corrected frames (N, H, W, C), float32; as they are where nothing is asked."""
        if self.none:
            return frames
        result = frames.astype(np.float32)
        if self.dark is not None:
            result -= self.dark
        if self.gain is not None:
            result *= self.gain
        if self.background != "none":
            _level(result, divide=self.background == "divide")
        if self.contrast:
            _stretch(result)
        return result


def _gain(flat: NDArray[np.float32]) -> NDArray[np.float32]:
    """What makes a flat field flat; 1 where it has no light."""
    mean = flat.mean(axis=(0, 1))
    if not (mean > 0).all():
        raise BadRequest("correction.flat is as dark as correction.dark: send one of an evenly lit field")
    alive = flat > DARKEST * mean
    return np.where(alive, mean / np.where(alive, flat, 1.0), 1.0).astype(np.float32)


def _level(frames: NDArray[np.float32], *, divide: bool) -> None:
    """In place: the median of each frame's edge, by channel, becomes 0 (or 1)."""
    number, channels = len(frames), frames.shape[-1]
    ring = np.concatenate(
        [
            part.reshape(number, -1, channels)
            for part in (
                *(frames[:, :EDGE], frames[:, -EDGE:]),
                *(frames[:, EDGE:-EDGE, :EDGE], frames[:, EDGE:-EDGE, -EDGE:]),
            )
        ],
        axis=1,
    )
    median = np.median(ring, axis=1)[:, None, None]
    if divide:
        frames /= np.where(np.abs(median) < DARKEST, 1.0, median)
    else:
        frames -= median


def _stretch(frames: NDArray[np.float32]) -> None:
    """In place: each frame from 0 to 1 between its percentiles; an even one becomes 0."""
    flat = frames.reshape(len(frames), -1)
    last = flat.shape[1] - 1
    at = [round(last * LOW / 100), round(last * HIGH / 100)]
    parted = np.partition(flat, at, axis=1)[:, at]
    low, span = parted[:, :1], parted[:, 1:] - parted[:, :1]
    flat -= low
    flat /= np.where(span > 0, span, np.inf)
    np.clip(flat, 0.0, 1.0, out=flat)
