"""Reads parts of large image files: a level, a region, a channel, without the rest. Runs in a process of its own."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from gateway.file_sender.kept import KeptParts

Pixels = NDArray[Any]
Key = tuple[Path, int]
"""A file and its time of change (ns), by which what was read of it before is known again."""
MOST = 400_000_000
"""Samples that may have to be decoded at once, for a file that cannot be read in parts."""
OVERVIEW = 2048
"""Longest side of the overview that is kept of a plane in pixels."""
MOST_CHANNELS = 64
KEPT = KeptParts()


class Plane(Protocol):
    """One level of an image. ``read``: (h, w) or (h, w, 3) of every ``step``-th pixel from ``y0`` and ``x0`` on."""

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    def read(self, y0: int, y1: int, x0: int, x1: int, step: int) -> Pixels: ...


@dataclass(frozen=True)
class Whole:
    """A plane that lies in memory, or is mapped from the disk."""

    pixels: Pixels

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    def read(self, y0: int, y1: int, x0: int, x1: int, step: int) -> Pixels:
        return np.ascontiguousarray(self.pixels[y0:y1:step, x0:x1:step])


class Parts:
    """A page of a TIFF whose strips or tiles are decoded one by one, those that are needed."""

    def __init__(self, key: Key, page: "tifffile.TiffPage", sample: int | None) -> None:
        """``sample``: one of several that are no colours."""
        self._key, self._page, self._sample = key, page, sample
        self.height, self.width = int(page.imagelength), int(page.imagewidth)
        self._tall = int(page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength))
        self._wide = int(page.tilewidth if page.is_tiled else page.imagewidth)
        self._samples = self._tall * self._wide * int(page.samplesperpixel)
        _check(self._samples)
        self._apart = int(page.planarconfig) == 2 and int(page.samplesperpixel) > 1
        self._colours = 3 if sample is None and int(page.samplesperpixel) >= 3 else 1

    def read(self, y0: int, y1: int, x0: int, x1: int, step: int) -> Pixels:
        shape = (-(-(y1 - y0) // step), -(-(x1 - x0) // step))
        made = np.zeros(shape if self._colours == 1 else (*shape, 3), self._page.dtype)
        groups = range(3) if self._colours == 3 else (self._sample or 0,)
        for nth, group in enumerate(groups if self._apart else (0,)):
            target = made[..., nth] if self._apart and self._colours == 3 else made
            for top, left, part in self._parts(group, y0, y1, x0, x1):
                _put(target, self._picked(part), (top - y0, left - x0), step)
        return made

    def _picked(self, part: Pixels) -> Pixels:
        """What is wanted of a part's samples."""
        if self._apart:
            return part[..., 0]
        return part[..., :3] if self._colours == 3 else part[..., self._sample or 0]

    def _parts(self, group: int, y0: int, y1: int, x0: int, x1: int) -> Iterator[tuple[int, int, Pixels]]:
        """Top, left and pixels (h, w, samples) of each part that touches the region."""
        across = -(-self.width // self._wide)
        first = group * across * -(-self.height // self._tall)
        for row in range(y0 // self._tall, -(-y1 // self._tall)):
            for column in range(x0 // self._wide, -(-x1 // self._wide)):
                part = self._decoded(first + row * across + column)
                if part is not None:
                    yield row * self._tall, column * self._wide, part

    def _decoded(self, index: int) -> Pixels | None:
        page = self._page
        if index >= len(page.dataoffsets) or not page.databytecounts[index]:
            return None  # a hole in a sparse file
        return KEPT.get((*self._key, page.dataoffsets[index]), self._samples, lambda: self._read(index))

    def _read(self, index: int) -> Pixels | None:
        page = self._page
        handle = page.parent.filehandle
        handle.seek(page.dataoffsets[index])
        raw = handle.read(page.databytecounts[index])
        decoded, _, shape = page.decode(raw, index, jpegtables=page.jpegtables)
        if decoded is None:
            return None
        part: Pixels = decoded[0, : shape[1], : shape[2]]
        return part


def _put(made: Pixels, part: Pixels, at: tuple[int, int], step: int) -> None:
    """Every ``step``-th pixel of a part into its place; ``at``: where the part begins, counted from the region."""
    (top, left), (tall, wide) = at, part.shape[:2]
    rows = range(max(0, -(-top // step)), min(made.shape[0], -(-(top + tall) // step)))
    columns = range(max(0, -(-left // step)), min(made.shape[1], -(-(left + wide) // step)))
    if len(rows) and len(columns):
        down, right = rows.start * step - top, columns.start * step - left
        made[rows.start : rows.stop, columns.start : columns.stop] = part[down::step, right::step][
            : len(rows), : len(columns)
        ]


@dataclass(frozen=True)
class Opened:
    """An image file: its levels, largest first, of one channel; and how many channels there are."""

    levels: tuple[Plane, ...]
    channels: int
    colour: bool


@contextmanager
def opened(path: Path, channel: int) -> Iterator[Opened]:
    """Raises ``ValueError`` or ``OSError`` for what cannot be shown."""
    if path.suffix.lower() in (".tif", ".tiff"):
        with tifffile.TiffFile(path) as file:
            yield _tiff(path, file, channel)
    else:
        pixels = _decoded(path, path.stat().st_mtime_ns)
        yield Opened((Whole(pixels),), 1, pixels.ndim == 3)


@lru_cache(maxsize=1)
def _decoded(path: Path, _changed: int) -> Pixels:
    # Only these: other readers of the library start programs, or read what the file names.
    with Image.open(path, formats=("BMP", "GIF", "JPEG", "PNG")) as image:
        _check(image.width * image.height)
        return np.asarray(image if image.mode in ("L", "I;16") else image.convert("RGB"))


def _tiff(path: Path, file: "tifffile.TiffFile", channel: int) -> Opened:
    first = file.pages.first
    series = file.series[0] if len(file.pages) > 1 or first.subifds else None
    levels = list(series.levels) if series is not None else []
    pages = [page for page in series.pages if page is not None] if series is not None else [first]
    samples = int(first.samplesperpixel)
    colour = samples >= 3 and tifffile.PHOTOMETRIC(first.photometric).name in ("RGB", "YCBCR")
    several = samples if samples > 1 and not colour else min(len(pages), MOST_CHANNELS)
    if not 0 <= channel < several:
        raise ValueError(f"there is no channel {channel}; there are {several}")
    sample = channel if samples > 1 and not colour else None
    place = 0 if sample is not None else channel
    chosen = [level.pages[place] for level in levels if place < len(level.pages)] or [first]
    planes = tuple(_plane(path, file, page.aspage(), sample) for page in chosen if page is not None)
    return Opened(planes, several, colour)


def _plane(path: Path, file: "tifffile.TiffFile", page: "tifffile.TiffPage", sample: int | None) -> Plane:
    if page.is_memmappable and page.ndim == 2 and page.size:
        dtype = np.dtype(page.dtype).newbyteorder(file.byteorder)
        return Whole(np.memmap(path, dtype, "r", page.dataoffsets[0], page.shape))
    return Parts((path, path.stat().st_mtime_ns), page, sample)


def _check(samples: int) -> None:
    if samples > MOST:
        raise ValueError(f"{samples} samples would have to be decoded at once, which are too many")


def levels_of(width: int, height: int, side: int = 256) -> int:
    """How many levels, each half of the one before, until all fits into one tile."""
    return 1 + max(0, math.ceil(math.log2(max(width, height, 1) / side)))


def region(image: Opened, key: Key, channel: int, level: int, box: tuple[int, int, int, int]) -> Pixels:
    """The pixels of a box (y0, y1, x0, x1, in pixels of the level)."""
    full, scale = image.levels[0], 2**level
    if len(image.levels) == 1 and scale >= _shrunk_by(full) > 1:
        small: Plane = Whole(overview(key, channel))
        factor = float(_shrunk_by(full))
    else:
        ratios = [(full.width / one.width, one) for one in image.levels]
        factor, small = max(((r, one) for r, one in ratios if r <= scale * 1.01), key=lambda found: found[0])
    step = max(1, round(scale / factor))
    y0, y1, x0, x1 = (round(one * scale / factor) for one in box)
    return small.read(y0, min(y1, small.height), x0, min(x1, small.width), step)


def _shrunk_by(plane: Plane) -> int:
    shrunk = 1
    while max(plane.height, plane.width) > OVERVIEW * shrunk:
        shrunk *= 2
    return shrunk


@lru_cache(maxsize=8)
def overview(key: Key, channel: int) -> Pixels:
    """The whole plane, small; read once for a file that has no levels of its own."""
    with opened(key[0], channel) as image:
        fit = [one for one in image.levels if max(one.height, one.width) >= OVERVIEW // 2]
        plane = fit[-1] if fit else image.levels[0]
        return plane.read(0, plane.height, 0, plane.width, _shrunk_by(plane))
