"""Puts the nuclei models into a model repository: ``python -m pipelines.nuclei.serving FOLDER --for triton-python``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import openvino as ov  # type: ignore[import-untyped]

from pipelines.backends import python_model_file
from pipelines.backends.repository import Batching, Served, Versions, add_version, write_config, write_ovms
from pipelines.model_folder import ModelFolder
from pipelines.nuclei.model import NAMES, PRECISIONS, WANTED, shipped

KINDS = ("triton-openvino", "triton-python", "ovms")
BATCHING = Batching(most=8, preferred=(4, 8))


def export(repository: Path, kind: str, folder: ModelFolder | None = None, base: str = "/models") -> list[Served]:
    """Write both precisions as one version each, as the folder of the model is numbered; what was written.

    ``kind``: ``triton-openvino``; ``triton-python``, for a Triton that has only the Python backend; ``ovms``, whose
    ``config.json`` names the repository as ``base``. Models that are there already stay as they are.
    """
    folder = folder or shipped()
    version = int(folder.metadata["version"])
    models = [served(precision, kind) for precision in PRECISIONS]
    repository.mkdir(parents=True, exist_ok=True)
    for precision, model in zip(PRECISIONS, models, strict=True):
        if not (repository / model.name / str(version)).exists():
            add_version(repository, model, version, files(folder, precision, kind))
        if kind != "ovms":
            write_config(repository, model)
    if kind == "ovms":
        write_ovms(repository / "config.json", models, base)
    return models


def served(precision: str, kind: str) -> Served:
    """How one precision is to be served."""
    return Served(
        NAMES[precision],
        "python" if kind == "triton-python" else "openvino",
        WANTED,
        batching=BATCHING,
        versions=Versions(latest=1),
        warm_up=((1, 256, 256),),
        parameters={"INFERENCE_PRECISION_HINT": "f32"},
    )


def files(folder: ModelFolder, precision: str, kind: str) -> dict[str, bytes | Path]:
    """The files of a version: the network with its batch free, and what runs it where the server does not."""
    network = ov.Core().read_model(folder.read(f"{precision}/model.xml"), folder.read(f"{precision}/model.bin"))
    network.reshape([-1, 1, -1, -1])
    with TemporaryDirectory() as made:
        ov.save_model(network, Path(made) / "model.xml", compress_to_fp16=False)
        content: dict[str, bytes | Path] = {
            name: (Path(made) / name).read_bytes() for name in ("model.xml", "model.bin")
        }
    if kind == "triton-python":
        content["model.py"] = python_model_file()
    return content


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.nuclei.serving", description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--for", dest="kind", choices=KINDS, default=KINDS[0])
    parser.add_argument("--base", default="/models", help="the repository as OpenVINO Model Server sees it")
    chosen = parser.parse_args(arguments)
    export(chosen.repository, chosen.kind, base=chosen.base)


if __name__ == "__main__":
    main()
