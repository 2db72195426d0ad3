"""Makes what a browser shows of large images: tiles, thumbnails, and what there is to choose. Blocking functions; they
run in a process of their own."""

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gateway.file_sender.slide import Key, Pixels, levels_of, opened, overview, region

BINS = 64


@dataclass(frozen=True)
class Look:
    """Which tile of an image, and how it is to look."""

    level: int = 0
    x: int = 0
    y: int = 0
    size: int = 256
    channel: int = 0
    low: float | None = None
    high: float | None = None
    """Grey values that become black and white; none: such that little is lost."""
    labels: bool = False
    """Each value has a colour of its own, and nothing is transparent."""


def about(path: Path) -> dict[str, Any]:
    """What an image is, and what of it can be chosen."""
    key = _key(path)
    small, (low, high) = overview(key, 0), _limits(key, 0)
    finite = small[np.isfinite(small)]
    counts, edges = np.histogram(finite, BINS) if finite.size else (np.zeros(BINS), np.array([0.0, 1.0]))
    with opened(path, 0) as image:
        plane = image.levels[0]
        told = {"Width": plane.width, "Height": plane.height, "Channels": image.channels, "Colour": image.colour}
    return {
        **told,
        "Type": str(small.dtype.newbyteorder("=")),
        "Levels": levels_of(told["Width"], told["Height"]),
        "Low": low,
        "High": high,
        "Least": float(edges[0]),
        "Most": float(edges[-1]),
        "Histogram": [int(count) for count in counts],
    }


def tile(path: Path, look: Look) -> bytes:
    """A PNG of at most ``size`` pixels a side. Raises ``ValueError`` for a place outside of the image."""
    key = _key(path)
    with opened(path, look.channel) as image:
        full, scale = image.levels[0], 2**look.level
        width, height = -(-full.width // scale), -(-full.height // scale)
        x0, y0 = look.x * look.size, look.y * look.size
        if x0 >= width or y0 >= height:
            raise ValueError(f"there is no tile {look.x}, {look.y} on level {look.level}")
        box = (y0, min(y0 + look.size, height), x0, min(x0 + look.size, width))
        pixels = region(image, key, look.channel, look.level, box)
    return _png(key, pixels, look)


def thumbnail(path: Path, side: int, labels: bool = False) -> bytes:
    """A PNG of the whole image, at most ``side`` pixels a side."""
    key = _key(path)
    small = overview(key, 0)
    step = max(1, -(-max(small.shape[:2]) // side))
    return _png(key, small[::step, ::step], Look(labels=labels))


def _key(path: Path) -> Key:
    return path, path.stat().st_mtime_ns


def _png(key: Key, pixels: Pixels, look: Look) -> bytes:
    if look.labels and pixels.ndim == 2:
        shown = Image.fromarray(coloured(pixels))
    else:
        low, high = look.low, look.high
        if low is None or high is None:
            usual = _limits(key, look.channel)
            low, high = usual[0] if low is None else low, usual[1] if high is None else high
        shown = Image.fromarray(stretched(pixels, low, high))
    target = io.BytesIO()
    shown.save(target, "PNG", compress_level=1)
    return target.getvalue()


def stretched(pixels: Pixels, low: float, high: float) -> Pixels:
    """uint8, ``low`` black and ``high`` white; what is no number is black."""
    scaled = (np.nan_to_num(pixels.astype(np.float32)) - low) * (255.0 / max(high - low, 1e-6))
    eight: Pixels = np.clip(scaled, 0.0, 255.0).astype(np.uint8)
    return eight


@lru_cache(maxsize=1)
def _colours() -> Pixels:
    """256 bright colours, neighbours unlike each other (RGBA); hues go round by the golden ratio."""
    hue = (np.arange(256) * 0.61803398875 % 1.0)[:, None]
    wheel = np.abs((hue * 6.0 + np.array([0.0, 4.0, 2.0])) % 6.0 - 3.0) - 1.0
    rgb = np.clip(wheel, 0.0, 1.0) * 190.0 + 65.0
    return np.concatenate([rgb, np.full((256, 1), 255.0)], axis=1).astype(np.uint8)


def coloured(labels: Pixels) -> Pixels:
    """RGBA of labels (0: transparent)."""
    whole = np.nan_to_num(labels).astype(np.int64)
    made: Pixels = _colours()[whole % 256]
    made[whole == 0] = 0
    return made


@lru_cache(maxsize=16)
def _limits(key: Key, channel: int) -> tuple[float, float]:
    """Grey values between which nearly all lie; pictures in 8 bits that use them are left as they are."""
    small = overview(key, channel)
    if small.dtype == np.uint8 and int(small.max(initial=0)) >= 100:
        return 0.0, 255.0
    finite = small[np.isfinite(small)]
    low, high = np.percentile(finite, (1.0, 99.8)) if finite.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-6))
