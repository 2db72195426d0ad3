"""Drawn images of cells, and the pipeline run on them."""

import json
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from scipy import ndimage
from skimage.draw import disk

from pipelines.embedding.model import shipped
from pipelines.embedding.pipeline import Cells
from pipelines.plugin import Result, Work

COUNT = 16
SHIPPED = shipped().path


def picture() -> np.ndarray:
    """Sixteen fluorescent nuclei apart from each other, uint8 (256, 256)."""
    scene = np.zeros((256, 256))
    for number in range(COUNT):
        row, column = divmod(number, 4)
        scene[disk((32 + 64 * row, 32 + 64 * column), 12 + number % 4)] = 0.6 + 0.02 * number
    noisy = ndimage.gaussian_filter(scene, 1) + 0.05 + np.random.default_rng(4).normal(0, 0.01, scene.shape)
    return (np.clip(noisy, 0, 1) * 200).astype(np.uint8)


def processed(
    folder: Path, pixels: np.ndarray, name: str = "a.tif", model: Path | None = None, **parameters: str
) -> tuple[Result, Path]:
    """What the pipeline makes of an image in a fresh folder, and where."""
    folder.mkdir(parents=True, exist_ok=True)
    image, out = folder / name, folder / "out"
    out.mkdir()
    if image.suffix == ".png":
        Image.fromarray(pixels).save(image)
    else:
        tifffile.imwrite(image, pixels)
    return Cells().run(Work(image, out, parameters, model=model, job="job-1")), out


def files(folder: Path = SHIPPED) -> dict[str, bytes]:
    """The files that the metadata of an encoder names."""
    named = json.loads((folder / "metadata.json").read_text())["files"]
    return {name: (folder / name).read_bytes() for name in named}


def variant(folder: Path, version: str = "7", *, without_map: bool = False, **more: object) -> Path:
    """The shipped encoder as another version, with other metadata; its folder."""
    target = folder / version
    said = json.loads((SHIPPED / "metadata.json").read_text()) | {"version": version} | more
    if without_map:
        said.pop("map")
        said["files"] = {name: digest for name, digest in said["files"].items() if not name.startswith("map/")}
    for name, content in files().items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
    (target / "metadata.json").write_text(json.dumps(said))
    return target
