"""Images on which pipelines find something."""

import io

import numpy as np
from PIL import Image


def nuclei_image(side: int = 128) -> bytes:
    """A PNG with four bright discs on dark ground; no two calls give the same bytes."""
    rows, columns = np.ogrid[:side, :side]
    pixels = np.random.default_rng().normal(20, 2, (side, side))
    for row, column in ((32, 32), (32, 96), (96, 32), (96, 96)):
        pixels[(rows - row) ** 2 + (columns - column) ** 2 < 144] += 150
    out = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()
