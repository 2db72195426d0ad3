"""Images to try the product with: rendered fluorescence fields, and real ones that come with scikit-image."""

import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.images import write_png, write_tiff

Plane = NDArray[np.float64]
Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Optics:
    """A widefield fluorescence microscope; the default is a dry 20x objective with DAPI on a 6.5 µm camera."""

    aperture: float = 0.75
    """Numerical aperture."""
    wavelength_um: float = 0.46
    """Of the emission."""
    index: float = 1.0
    """Refractive index of what is between objective and cover slip."""
    pixel_size_um: float = 0.325

    def blur_um(self, defocus_um: float = 0.0) -> float:
        """Standard deviation of the Gaussian that stands for the point-spread function, in micrometres.

        In focus sqrt(2) / (k NA) = 0.225 wavelength / NA, the paraxial widefield approximation of Zhang, Zerubia
        and Olivo-Marin, Applied Optics 46 (2007) 1819. Out of focus a disc of radius |z| tan(asin(NA / n)) is
        added by its variance, radius² / 4 along each axis (geometrical optics).
        """
        focused = math.sqrt(2) * self.wavelength_um / (2 * math.pi * self.aperture)
        disc = abs(defocus_um) * math.tan(math.asin(min(self.aperture / self.index, 0.99)))
        return math.hypot(focused, disc / 2)


@dataclass(frozen=True)
class Camera:
    """A linear camera as in the EMVA 1288 standard, release 4.0: grey = K (electrons + dark noise) + offset."""

    quantum_efficiency: float = 0.7
    """Electrons a photon."""
    read_noise: float = 1.6
    """Electrons, standard deviation."""
    gain: float = 2.0
    """K, grey levels an electron."""
    offset: float = 100.0
    """Grey levels in the dark."""
    bits: Literal[8, 16] = 16

    def expose(self, photons: Plane, rng: np.random.Generator) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Grey levels (H, W), uint8 or uint16, of the mean photons a pixel (H, W) receives."""
        electrons = rng.poisson(photons * self.quantum_efficiency) + rng.normal(0, self.read_noise, photons.shape)
        grey = np.clip(np.rint(self.gain * electrons + self.offset), 0, 2**self.bits - 1)
        return grey.astype(np.uint8) if self.bits == 8 else grey.astype(np.uint16)


_PATIENCE = 200
"""Attempts in a row to place a nucleus before the field counts as full."""
CAMERAS = {16: Camera(), 8: Camera(gain=0.18, offset=5.0, bits=8)}


@dataclass(frozen=True)
class Scene:
    """What lies under the microscope, and how it is lit. Lengths in micrometres."""

    radius_um: float = 5.5
    """Of a nucleus, mean; about ±15 % from one to the next, axes up to 1 : 1.7."""
    clustering: float = 0.4
    """Share of nuclei that lie against another."""
    photons: float = 1200.0
    """From the middle of a mean nucleus to a pixel."""
    background: float = 60.0
    """Photons a pixel from everywhere."""
    haze: float = 0.15
    """Share of the light that comes from far out of focus."""
    chromatin: float = 0.3
    """Contrast of the texture within a nucleus."""
    defocus_um: float = 0.0
    """Of the stage; besides, each nucleus lies up to 2 µm off the plane of the others."""
    falloff: float = 0.3
    """Illumination lost in the corners."""


def render_field(
    seed: int,
    shape: tuple[int, int] = (512, 512),
    bits: Literal[8, 16] = 16,
    nuclei: int = 60,
    scene: Scene | None = None,
    optics: Optics | None = None,
    camera: Camera | None = None,
) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], Labels]:
    """A field of stained nuclei, and which pixel belongs to which: image (H, W), labels (H, W), 0 = background.

    The same seed gives the same field. There are fewer nuclei than asked for where no more find room. After the
    SIMCEP simulator (Lehmussola et al., IEEE Transactions on Medical Imaging 26 (2007) 1010): shapes, texture,
    clusters, then optics, illumination and camera.
    """
    scene, optics = scene or Scene(), optics or Optics()
    rng = np.random.default_rng(seed)
    planes, labels = _specimen(rng, shape, nuclei, scene, optics.pixel_size_um)
    light = np.zeros(shape)
    for height_um, plane in planes.items():
        light += _blurred(plane, optics.blur_um(scene.defocus_um + height_um) / optics.pixel_size_um)
    light = (1 - scene.haze) * light + scene.haze * _blurred(light, 20.0 / optics.pixel_size_um)
    photons = (light * scene.photons + scene.background) * _illumination(rng, shape, scene.falloff)
    return (camera or CAMERAS[bits]).expose(photons, rng), labels


def _specimen(
    rng: np.random.Generator, shape: tuple[int, int], nuclei: int, scene: Scene, pixel_um: float
) -> tuple[dict[float, Plane], Labels]:
    """Brightness by height above the focal plane (0, 1, 2 µm), and labels."""
    planes = {height: np.zeros(shape) for height in (0.0, 1.0, 2.0)}
    labels = np.zeros(shape, np.int32)
    centres: list[tuple[float, float, float]] = []
    misses = 0
    while len(centres) < nuclei and misses < _PATIENCE:
        radius = scene.radius_um / pixel_um * rng.lognormal(0, 0.15)
        y, x = _place(rng, shape, centres, radius, scene.clustering)
        depth, window = _nucleus(rng, shape, y, x, radius)
        inside = depth > 0
        mine = inside & (labels[window] == 0)
        if mine.sum() < max(20.0, 0.9 * inside.sum()):
            misses += 1
            continue
        misses = 0
        centres.append((y, x, radius))
        labels[window][mine] = len(centres)
        texture = 1 + scene.chromatin * _texture(rng, depth.shape, 0.5 / pixel_um)
        brightness = rng.lognormal(0, 0.25)
        planes[float(rng.integers(3))][window] += np.where(mine, brightness * depth * np.clip(texture, 0.1, 2), 0)
    return planes, labels


def _place(
    rng: np.random.Generator,
    shape: tuple[int, int],
    centres: list[tuple[float, float, float]],
    radius: float,
    clustering: float,
) -> tuple[float, float]:
    """A centre: anywhere, or against a nucleus that is there already."""
    if not centres or rng.random() >= clustering:
        return rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
    y, x, other = centres[rng.integers(len(centres))]
    angle, distance = rng.uniform(0, 2 * np.pi), (radius + other) * rng.uniform(0.95, 1.1)
    return (
        float(np.clip(y + distance * np.sin(angle), 0, shape[0] - 1)),
        float(np.clip(x + distance * np.cos(angle), 0, shape[1] - 1)),
    )


def _nucleus(
    rng: np.random.Generator, shape: tuple[int, int], y: float, x: float, radius: float
) -> tuple[Plane, tuple[slice, slice]]:
    """Optical thickness (0 outside, about 1 in the middle) of a wobbly ellipse, and the window it lies in."""
    reach = int(radius * 1.8) + 2
    rows = slice(max(0, int(y) - reach), min(shape[0], int(y) + reach + 1))
    columns = slice(max(0, int(x) - reach), min(shape[1], int(x) + reach + 1))
    down = np.arange(rows.start, rows.stop)[:, None] - y
    across = np.arange(columns.start, columns.stop)[None, :] - x
    turn, stretch = rng.uniform(0, np.pi), math.sqrt(rng.uniform(1.0, 1.7))
    along = (np.cos(turn) * across + np.sin(turn) * down) / stretch
    aside = (np.cos(turn) * down - np.sin(turn) * across) * stretch
    angle = np.arctan2(aside, along)
    edge = sum(rng.normal(0, 0.04 / n) * np.cos(n * angle + rng.uniform(0, 2 * np.pi)) for n in (2, 3, 4, 5))
    distance = np.hypot(along, aside) / (radius * (1 + edge))
    return np.where(distance < 1, 0.4 + 0.6 * np.sqrt(np.clip(1 - distance**2, 0, 1)), 0.0), (rows, columns)


def _texture(rng: np.random.Generator, shape: tuple[int, ...], grain: float) -> Plane:
    """Noise in two octaves, mean 0 and standard deviation 1; ``grain`` in pixels."""
    noise = _blurred(rng.normal(size=shape), grain) * grain + _blurred(rng.normal(size=shape), 3 * grain) * 3 * grain
    return np.asarray((noise - noise.mean()) / max(float(noise.std()), 1e-9))


def _illumination(rng: np.random.Generator, shape: tuple[int, int], falloff: float) -> Plane:
    """1 at the brightest point, which is a little off the middle, and less with the square of the distance."""
    middle = rng.uniform(-0.15, 0.15, 2)
    down = np.linspace(-1, 1, shape[0])[:, None] - middle[0]
    across = np.linspace(-1, 1, shape[1])[None, :] - middle[1]
    return np.asarray(np.clip(1 - falloff * (down**2 + across**2) / 2, 0.05, 1))


def _blurred(image: Plane, sigma: float) -> Plane:
    """Convolved with a Gaussian (``sigma`` in pixels), by its transform; edges are reflected."""
    margin = [min(math.ceil(3 * sigma), length - 1) for length in image.shape]
    padded = np.pad(image, [(width, width) for width in margin], mode="reflect")
    down, across = np.fft.fftfreq(padded.shape[0])[:, None], np.fft.rfftfreq(padded.shape[1])[None, :]
    transfer = np.exp(-2 * (np.pi * sigma) ** 2 * (down**2 + across**2))
    smooth = np.fft.irfft2(np.fft.rfft2(padded) * transfer, padded.shape)
    rows, columns = (slice(width, width + length) for width, length in zip(margin, image.shape, strict=True))
    return np.clip(smooth[rows, columns], 0, None) if image.min() >= 0 else smooth[rows, columns]


# Files

REAL = {"phase-cell.png": "cell.png", "colon-ihc.png": "ihc.png"}
"""Images inside scikit-image's own package: a cell in quantitative phase contrast (Müller et al., Optics Express 26
(2018) 10729; CC0) and colon tissue, haematoxylin and DAB (CMMI; no known restriction of copyright)."""


def package_samples(folder: Path) -> list[Path]:
    """Write about ten images into ``folder``, each appearing whole; where they are, in order.

    The real ones are left out where scikit-image is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_written(folder / name, write) for name, write in (_rendered() | _real()).items()]


def _real() -> dict[str, Callable[[Path], object]]:
    found = find_spec("skimage")
    if found is None or found.origin is None:
        return {}
    data = Path(found.origin).parent / "data"
    there = {name: data / source for name, source in REAL.items() if (data / source).is_file()}
    return {name: partial(shutil.copyfile, source) for name, source in there.items()}


def _rendered() -> dict[str, Callable[[Path], object]]:
    size = Optics().pixel_size_um
    crowded = Scene(clustering=0.8, radius_um=4.5)
    dim = Scene(photons=90, background=25)
    soft = Scene(defocus_um=3.0)

    def field(seed: int, nuclei: int, scene: Scene, bits: Literal[8, 16], edge: int = 512) -> NDArray[np.generic]:
        return render_field(seed, (edge, edge), bits, nuclei, scene)[0]

    return {
        "nuclei-r01c01f1.tif": lambda path: write_tiff(path, field(11, 60, Scene(), 16), (size, size)),
        "nuclei-r01c02f1.tif": lambda path: write_tiff(path, field(12, 40, Scene(), 8, 256), (size, size)),
        "nuclei-r01c03f1.ome.tif": lambda path: _write_ome(path, field(13, 120, crowded, 16), size),
        "nuclei-r02c01f1.png": lambda path: write_png(path, field(21, 50, Scene(), 8)),
        "nuclei-r02c02f1.png": lambda path: write_png(path, field(22, 60, dim, 16)),
        "nuclei-r02c03f1.tif": lambda path: write_tiff(path, field(23, 50, soft, 16), (size, size)),
        "nuclei-r03c01f1.tif": lambda path: write_tiff(path, field(31, 250, Scene(), 16, 1024), (size, size)),
        "nuclei-r03c02f1.png": lambda path: write_png(path, field(32, 0, replace(dim, haze=0.0), 8)),
    }


def _write_ome(path: Path, image: NDArray[np.generic], pixel_size_um: float) -> None:
    import tifffile

    sizes = {f"PhysicalSize{axis}": pixel_size_um for axis in "XY"}
    units = {f"PhysicalSize{axis}Unit": "\u00b5m" for axis in "XY"}
    tifffile.imwrite(path, image, ome=True, compression="zlib", metadata={"axes": "YX", **sizes, **units})


def _written(path: Path, write: Callable[[Path], object]) -> Path:
    """Write under a name that watchers skip, then rename."""
    part = path.with_name(f".{path.name}.part")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
