"""Puts what was built where servers and runners read it, with what it was made of; a version is never overwritten."""

import hashlib
import json
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipelines.backends.repository import Served, Versions, add_version, write_config
from pipelines.build import source
from pipelines.build.accuracy import Figures
from pipelines.build.errors import BuildError
from pipelines.build.making import Product, Workshop
from pipelines.build.nuclei import Nuclei
from pipelines.build.tensorrt_engine import Profile
from pipelines.nuclei.model import PRECISIONS, WANTED
from pipelines.nuclei.serving import BATCHING

METADATA = "metadata.json"
TOOLS = ("torch", "onnx", "onnxruntime", "openvino", "nncf", "tensorrt")


def published(
    repository: Path, recipe: Nuclei, product: Product, number: int, about: Mapping[str, Any]
) -> tuple[Served, Path]:
    """Add the product to a model repository as version ``number``; how it is served, and its folder.

    Raises ``FileExistsError`` where that version is there already, ``ValueError`` for a number below 1.
    """
    model = served(recipe, product)
    files: dict[str, bytes | Path] = dict(product.files)
    files[METADATA] = (json.dumps(dict(about) | {"version": str(number)}, indent=2) + "\n").encode()
    repository.mkdir(parents=True, exist_ok=True)
    folder = add_version(repository, model, number, files)
    write_config(repository, model)
    return model, folder


def served(recipe: Nuclei, product: Product) -> Served:
    """How a server is to run a product: on the processor, or on the first GPU what is for TensorRT."""
    for_gpu = product.target.backend == "tensorrt"
    precision = {"INFERENCE_PRECISION_HINT": "f32"} if product.backend == "openvino" else {}
    return Served(
        f"{recipe.name}{product.target.suffix}",
        product.backend,
        WANTED,
        batching=BATCHING,
        versions=Versions(latest=1),
        gpus=(0,) if for_gpu else (),
        warm_up=((1, 256, 256),),
        parameters=precision,
    )


def next_version(repository: Path, names: Sequence[str]) -> int:
    """The first number that none of these models has."""
    there = [int(path.name) for name in names for path in (repository / name).glob("*") if path.name.isdecimal()]
    return max(there, default=0) + 1


def about(workshop: Workshop, product: Product, figures: Mapping[str, Figures], lost: float) -> dict[str, Any]:
    """All that is to be known of a product; ``figures``: its accuracy by split."""
    recipe, order = workshop.recipe, workshop.order
    weights = recipe.folder.path / source.FILE
    calibration = {
        "split": "train",
        "crops": order.calibration,
        "seed": order.seed,
        "sha256": hashlib.sha256(workshop.crops.tobytes()).hexdigest(),
        "layers_in_fp32": list(product.spared),
        "chosen_on": order.control,
    }
    return {
        "pipeline": recipe.name,
        "target": product.target.name,
        **recipe.described(),
        "built": datetime.now(UTC).date().isoformat(),
        "commit": commit(Path(__file__).parent),
        "source": {"file": source.FILE, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()},
        "calibration": calibration if product.target.rounded else None,
        "profile": asdict(Profile()) if product.backend == "tensorrt" else None,
        "accuracy": {split: dict(figure) for split, figure in figures.items()} | {"loss": lost, "limit": order.limit},
        "made_with": made_with(),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in product.files.items()},
    }


def made_with() -> dict[str, str]:
    """The versions of the libraries that take part."""
    found = {}
    for name in TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit(folder: Path) -> str:
    """That of the source, with ``+`` if files have changed since; the package's version where it is no checkout."""
    try:
        head, changed = (
            subprocess.run(("git", *words), cwd=folder, check=True, capture_output=True, text=True, timeout=30).stdout
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no", "."))
        )
    except (OSError, subprocess.SubprocessError):
        return f"cytobus {version('cytobus')}"
    return head.strip() + ("+" if changed.strip() else "")


def packed(path: Path, folders: Mapping[str, Path], card: Path | None) -> Path:
    """A package that the gateway takes: the versions of both precisions by OpenVINO, in one zip file.

    ``folders``: by precision. Raises ``BuildError`` where one is missing, ``FileExistsError`` for a file that is there.
    """
    if missing := [name for name in PRECISIONS if name not in folders]:
        wanted = " ".join(f"--to openvino-{name}" for name in PRECISIONS)
        raise BuildError(f"a package needs {' and '.join(PRECISIONS)}, and there is no {missing[0]}; build {wanted}")
    described = [json.loads((folders[name] / METADATA).read_bytes()) for name in PRECISIONS]
    content = {f"{name}/{file}": (folders[name] / file).read_bytes() for name in PRECISIONS for file in _XML}
    files = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    accuracy = {"accuracy": {name: one["accuracy"] for name, one in zip(PRECISIONS, described, strict=True)}}
    text = json.dumps(described[-1] | accuracy | {"target": "openvino", "files": files}, indent=2) + "\n"
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(METADATA, text)
        if card is not None:
            archive.writestr("CARD.md", card.read_bytes())
        for name, data in content.items():
            archive.writestr(name, data)
    return path


_XML = ("model.xml", "model.bin")
