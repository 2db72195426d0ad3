"""Packs the nuclei models with what runs them as a bento, which ``bentoml serve FOLDER`` serves anywhere; offline."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.model_folder import ModelFolder
from pipelines.nuclei.model import NAMES, VERSION, shipped

SERVICE = "pipelines.nuclei.bento:Nuclei"
CODE = ("__init__.py", "plugin.py", "backends", "nuclei")
"""Of this package; the rest is not needed where only the model runs."""
NEEDS = ("numpy", "openvino")
SECONDS = 600.0


class NotPacked(Exception):
    """The bento could not be made; the text says why, and what helps."""


def bento(out: Path, program: Path | None = None) -> Path:
    """Build a bento into a new folder below ``out``; that folder. It is named by the model's version and digest.

    ``program``: the command ``bentoml``, in whichever environment it is (with numpy and openvino); None: that of this
    environment. Nothing is asked from the network. Raises ``NotPacked``.
    """
    folder = shipped()
    for name in folder.metadata["files"]:
        folder.read(name)  # what is damaged is not given on
    tag = f"{VERSION}-{folder.sha256[:12]}"
    target = out / f"{NAMES['fp32']}-{tag}"
    if target.exists():
        raise NotPacked(f"{target} is there already: remove it, or name another folder by --out")
    with TemporaryDirectory(prefix="cytobus-bento-") as made:
        source, home = Path(made) / "source", Path(made) / "home"
        _stage(source, folder)
        (source / "bentofile.yaml").write_text(
            json.dumps(_described(folder), indent=2), encoding="utf-8"
        )  # JSON is YAML
        _build(program or _own(), source, home, tag)
        out.mkdir(parents=True, exist_ok=True)
        shutil.copytree(home / "bentos" / NAMES["fp32"] / tag, target)
    return target


def _stage(source: Path, folder: ModelFolder) -> None:
    """Only what belongs into it."""
    package = Path(__file__).parents[1]
    for name in CODE:
        if (package / name).is_dir():
            shutil.copytree(package / name, source / package.name / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (source / package.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(package / name, source / package.name / name)
    shutil.copytree(folder.path, source / package.name / folder.path.relative_to(package))


def _described(folder: ModelFolder) -> dict[str, object]:
    """What BentoML is to be told; ``lock_packages`` would ask the index of packages."""
    ours = [line.partition(";")[0].strip() for line in requires("cytobus") or () if 'extra == "pipelines"' in line]
    return {
        "service": SERVICE,
        "name": NAMES["fp32"],
        "labels": {"model": NAMES["fp32"], "version": VERSION, "sha256": folder.sha256},
        "include": ["pipelines/**"],
        "python": {"packages": [line for line in ours if line.startswith(NEEDS)], "lock_packages": False},
    }


def _own() -> Path:
    found = shutil.which("bentoml", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise NotPacked(
            "there is no command bentoml: pip install 'cytobus[bento]', or name one of another environment by --bentoml"
        )
    return Path(found)


def _build(program: Path, source: Path, home: Path, tag: str) -> None:
    environment = os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(source)}
    try:
        subprocess.run(
            [str(program), "build", str(source), "--version", tag],
            check=True,
            capture_output=True,
            text=True,
            cwd=source,
            env=environment,
            timeout=SECONDS,
        )
    except OSError as error:
        raise NotPacked(f"{program} cannot be run: {error}") from error
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", "") or getattr(error, "output", "") or str(error)).strip()
        raise NotPacked(f"{program} has not built it: {said[-600:]}") from error
