"""Encoders of cells for the cell index: which there are, images by them, and the ways between their vectors."""

import asyncio
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from contracts.disk import keep_folder
from contracts.errors import BadRequest, Conflict, Unavailable
from gateway.cells.rules import Floats
from gateway.cells.service import Embedded, Translated

if TYPE_CHECKING:
    from pipelines.embedding.model import Encoder
    from pipelines.embedding.translation import Translation
    from pipelines.nuclei.model import ModelFolder


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Errors of models and missing packages, as those that are answered."""
    try:
        from pipelines.backends.errors import BackendError
    except ImportError as error:
        raise Conflict(f"{what} needs the extra 'pipelines' ({error}): pip install 'cytobus[pipelines]'") from None
    try:
        yield
    except ImportError as error:
        raise Conflict(f"{what} needs the extra 'pipelines' ({error}): pip install 'cytobus[pipelines]'") from None
    except BackendError as error:
        raise Unavailable(f"{what}: {error}") from None


class Encoders:
    """By the version that stands in tables of cells: the one that ships, and those that were uploaded. Blocks, but for
    ``embed``; may be used from several threads."""

    def __init__(self, uploaded: Path, folder: Path, threads: int = 1) -> None:
        """``uploaded``: where packages of models of the pipeline are; ``folder``: ours."""
        self._uploaded, self._cache, self.ways, self._threads = uploaded, folder / "encoders", folder / "ways", threads
        self._lock = threading.Lock()
        self._encoder: Encoder | None = None

    def folder(self, model: str) -> "ModelFolder | None":
        """Of an encoder; None: it is not here."""
        from pipelines.embedding.model import shipped
        from pipelines.nuclei.model import ModelFolder

        own = shipped()
        if model == own.metadata["version"]:
            return own
        for package in self._uploaded.glob("*.zip"):
            version, _, digest = package.stem.rpartition("-")
            if version == model:
                return ModelFolder(self._unpacked(package, digest))
        return None

    def _unpacked(self, package: Path, digest: str) -> Path:
        from contracts.models_of_pipelines import METADATA, Package, opened
        from pipelines.models import MOST_BYTES, unpack

        target = self._cache / digest
        if not (target / METADATA).is_file():
            keep_folder(self._cache)
            part = self._cache / f"{uuid.uuid4().hex}.part"
            shutil.copyfile(package, part.with_suffix(".zip"))
            with opened(package) as archive:
                whole = Package(archive, MOST_BYTES).sha256
            unpack(part, whole, target)
        return target

    async def embed(self, content: bytes, model: str) -> Embedded:
        """The vector of an image of one cell, as the pipeline makes it of such. A picture as the map shows it, grey
        and of 64 x 64 pixels, is what an encoder sees, and taken as it is."""
        return await asyncio.to_thread(self._embed, content, model)

    def _embed(self, content: bytes, model: str) -> Embedded:
        with explained("to search by an image"), TemporaryDirectory() as place:
            from pipelines.backends.openvino import THREADS
            from pipelines.embedding.crops import SIDE
            from pipelines.embedding.pipeline import found
            from pipelines.images import read_image
            from pipelines.plugin import BadInput

            os.environ.setdefault(THREADS, str(self._threads))
            image = Path(place) / "image"
            image.write_bytes(content)
            try:
                pixels = read_image(image).pixels
                plain = pixels.shape == (SIDE, SIDE) and pixels.dtype == np.uint8
                crops = pixels[None] if plain else found(pixels, "whole", 0, "the image").crops
            except BadInput as error:
                raise BadRequest(str(error)) from None
            with self._lock:
                encoder = self._of(model)
                return Embedded(encoder.version, encoder(crops).vectors[0])

    def _of(self, model: str) -> "Encoder":
        """The last that was used is kept."""
        from pipelines.embedding.model import Encoder, shipped

        folder = (self.folder(model) if model else None) or shipped()
        if self._encoder is None or self._encoder.folder.sha256 != folder.sha256:
            self._encoder = Encoder(folder)
        return self._encoder

    def mapped(self, vectors: Floats, source: str, target: str) -> Translated | None:
        """By a way that was learnt (``cytobus cells translate``); as they are where both are one encoder."""
        with explained("to compare models"):
            old, new = self.folder(source), self.folder(target)
            if old is not None and new is not None and _network(old) == _network(new):
                return Translated(vectors, "the same encoder", 1.0)
            found = [one for one in self._ways(source, target, old, new) if vectors.shape[1] == _width(one[0])]
            if not found:
                place = self.ways / re.sub(r"[^\w.-]", "_", f"{source}-to-{target}")
                raise Conflict(
                    f"no way from {source} to {target} is known; learn it from tables of cells with crops: cytobus "
                    f"cells translate RESULTS --old FOLDER-OF-{source} --new FOLDER-OF-{target} --out '{place}'"
                )
            way, recall = max(found, key=lambda one: one[1])
            return Translated(way(vectors), f"{way.kind} from {source} to {target}", recall)

    def _ways(
        self, source: str, target: str, old: "ModelFolder | None", new: "ModelFolder | None"
    ) -> Iterator[tuple["Translation", float]]:
        """Those that were learnt for these very encoders, with what each keeps."""
        from pipelines.embedding.translation import opened
        from pipelines.nuclei.model import BrokenModel, ModelFolder

        for path in sorted(self.ways.glob("*/metadata.json")):
            folder = ModelFolder(path.parent)
            try:
                ends = [folder.metadata[name] for name in ("from", "to")]
                fits = all(
                    end["version"] == name and (known is None or end["sha256"] == known.sha256)
                    for end, name, known in zip(ends, (source, target), (old, new), strict=True)
                )
                if fits:
                    figures = folder.metadata["figures"]
                    yield opened(folder), float(figures.get("kept_as_query", figures["kept"]))
            except (KeyError, TypeError, ValueError):
                raise BrokenModel(f"{path} does not describe a way between encoders: learn it again") from None


def _network(folder: "ModelFolder") -> list[str]:
    from pipelines.embedding.model import FILES

    return [str(folder.metadata["files"].get(name)) for name in FILES]


def _width(way: "Translation") -> int:
    return int(way.layers[0][0].shape[0])
