"""Packages of models, as somebody might upload them."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).parents[2] / "pipelines" / "models" / "nuclei" / "2"


def zipped(files: dict[str, bytes], at: str = "") -> bytes:
    """A zip file with these files below a folder."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(at + name, content)
    return out.getvalue()


def described(files: dict[str, bytes], *, pipeline: str = "only-file", version: str = "2", **more: Any) -> bytes:
    """``metadata.json`` of these files."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return json.dumps({"pipeline": pipeline, "version": version, "files": digests} | more).encode()


def package(files: dict[str, bytes] | None = None, *, at: str = "", **about: Any) -> bytes:
    """A package of these files (one small file, if none are given), with its ``metadata.json``."""
    files = {"fp32/model.xml": b"<net/>"} if files is None else files
    return zipped({"metadata.json": described(files, **about), **files}, at)


def nuclei(version: str, **changed: bytes) -> bytes:
    """The shipped model of nuclei as another version; ``changed``: other contents, by a name's words (``fp32_xml``)."""
    names = {
        f"{precision}_{kind}": f"{precision}/model.{kind}" for precision in ("fp32", "int8") for kind in ("xml", "bin")
    }
    files = {name: changed.get(words, (SHIPPED / name).read_bytes()) for words, name in names.items()}
    return package(files, at=f"{version}/", pipeline="nuclei", version=version, network="dense-unet")
