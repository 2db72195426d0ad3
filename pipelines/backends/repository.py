"""Writes model repositories on disk: for Triton with ``config.pbtxt``, for OpenVINO Model Server with ``config.json``.

Both read the same layout, ``NAME/VERSION/…``. A version appears whole or not at all, because servers look at any time.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from pipelines.backends.tensors import Signature, Tensor

FILES: Mapping[str, tuple[str, ...]] = {
    "openvino": ("model.xml", "model.bin"),
    "onnxruntime": ("model.onnx",),
    "tensorrt": ("model.plan",),
    "python": ("model.py",),
}
"""What a version must hold, by Triton's backend."""
TYPES: Mapping[str, str] = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "object": "TYPE_STRING",
}


@dataclass(frozen=True)
class Batching:
    """How the server puts requests together. ``most`` 0: not at all, and the first dimension is the model's own.

    A lone client pays ``delay_us`` in full: 0 puts together only what waits anyway.
    """

    most: int = 8
    preferred: tuple[int, ...] = ()
    delay_us: int = 0


@dataclass(frozen=True)
class Versions:
    """Which versions are served: the ``latest`` so many, or these ``only``; both empty: all."""

    latest: int = 1
    only: tuple[int, ...] = ()


@dataclass(frozen=True)
class Served:
    """How a server is to serve a model. The first dimension of each tensor is the batch."""

    name: str
    backend: str
    """openvino, onnxruntime, tensorrt or python: what Triton runs it with."""
    signature: Signature
    batching: Batching = Batching()
    versions: Versions = Versions()
    instances: int = 1
    gpus: tuple[int, ...] = ()
    """Instances run on each of these; none: on the processor."""
    warm_up: tuple[tuple[int, ...], ...] = ()
    """Shapes of one input picture each, without batch, with which the server tries the model before it is ready."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """For the backend, such as ``INFERENCE_NUM_THREADS``."""

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for what no server could take."""
        if self.backend not in FILES:
            raise ValueError(f"model {self.name!r}: backend {self.backend!r} is none of {', '.join(FILES)}")
        if not self.name or self.name.startswith(".") or "/" in self.name or "\\" in self.name:
            raise ValueError(f"{self.name!r} cannot name a folder; choose letters, digits, dashes and underscores")
        if any(size > self.batching.most for size in self.batching.preferred):
            raise ValueError(f"model {self.name!r}: a preferred batch is larger than the largest, {self.batching.most}")


def add_version(repository: Path, served: Served, version: int, files: Mapping[str, bytes | Path]) -> Path:
    """Put one version into a repository, whole; its folder. Raises ``ValueError`` for missing or unknown files.

    A version that is there is never changed under a server: ``FileExistsError``.
    """
    if version < 1:
        raise ValueError(f"model {served.name!r}: version {version} is none; they count from 1")
    if missing := [name for name in FILES[served.backend] if name not in files]:
        raise ValueError(f"model {served.name!r} version {version} lacks {', '.join(missing)} for {served.backend}")
    target = repository / served.name / str(version)
    if target.exists():
        raise FileExistsError(f"{target} is there already; give the changed model the next version")
    target.parent.mkdir(parents=True, exist_ok=True)
    making = Path(mkdtemp(prefix=".making-", dir=repository))
    try:
        making.chmod(0o755)
        for name, content in files.items():
            if isinstance(content, Path):
                shutil.copyfile(content, making / name)
            else:
                (making / name).write_bytes(content)
        os.rename(making, target)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return target


def write_config(repository: Path, served: Served) -> Path:
    """Write the model's ``config.pbtxt`` anew, for Triton."""
    path = repository / served.name / "config.pbtxt"
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, pbtxt(served))
    return path


def write_ovms(config: Path, models: Sequence[Served], base: str) -> Path:
    """Write OpenVINO Model Server's ``config.json``; ``base`` is the repository as the server sees it."""
    _replace(config, json.dumps(ovms_config(models, base), indent=2) + "\n")
    return config


def ovms_config(models: Iterable[Served], base: str) -> dict[str, Any]:
    """The document of ``--config_path``. Raises ``ValueError`` for models that this server cannot run."""
    entries = []
    for served in models:
        if served.backend not in ("openvino", "onnxruntime"):
            raise ValueError(f"model {served.name!r} is for {served.backend}; OpenVINO Model Server runs IR and ONNX")
        entry: dict[str, Any] = {
            "name": served.name,
            "base_path": f"{base.rstrip('/')}/{served.name}",
            "model_version_policy": _ovms_policy(served.versions),
            # Not with NUM_STREAMS beside it, and no "shape": "auto", which loads the model anew at each change.
            "plugin_config": {"PERFORMANCE_HINT": "THROUGHPUT", **served.parameters},
        }
        if served.instances > 1:
            entry["nireq"] = served.instances
        if served.gpus:
            entry["target_device"] = "GPU"
        entries.append({"config": entry})
    return {"model_config_list": entries}


def pbtxt(served: Served) -> str:
    """The text of ``config.pbtxt``."""
    most = served.batching.most
    lines = [f"name: {_quoted(served.name)}", f"backend: {_quoted(served.backend)}", f"max_batch_size: {most}"]
    if served.backend == "tensorrt":
        lines.append('platform: "tensorrt_plan"')
    for kind, tensors in (("input", served.signature.inputs), ("output", served.signature.outputs)):
        lines += [
            f"{kind} {{ name: {_quoted(one.name)} data_type: {_type(served, one)} dims: {_dims(_sides(served, one))} }}"
            for one in tensors
        ]
    lines.append(f"version_policy {{ {_policy(served.versions)} }}")
    place = f"kind: KIND_GPU gpus: {_dims(served.gpus)}" if served.gpus else "kind: KIND_CPU"
    lines.append(f"instance_group {{ count: {served.instances} {place} }}")
    if most > 1:
        preferred = f"preferred_batch_size: {_dims(served.batching.preferred)} " if served.batching.preferred else ""
        lines.append(f"dynamic_batching {{ {preferred}max_queue_delay_microseconds: {served.batching.delay_us} }}")
    lines += [_warm_up(served, at, shape) for at, shape in enumerate(served.warm_up)]
    lines += [
        f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"
        for key, value in served.parameters.items()
    ]
    return "\n".join(lines) + "\n"


def _warm_up(served: Served, at: int, shape: tuple[int, ...]) -> str:
    batched = served.batching.most > 0
    inputs = " ".join(
        f"inputs {{ key: {_quoted(one.name)} value {{ data_type: {_type(served, one)} "
        f"dims: {_dims(shape if batched else (1, *shape))} zero_data: true }} }}"
        for one in served.signature.inputs
    )
    return f'model_warmup {{ name: "zeros-{at}" batch_size: {1 if batched else 0} {inputs} }}'


def _sides(served: Served, tensor: Tensor) -> tuple[int | None, ...]:
    """Without the batch, where the server puts requests together: it adds that dimension itself."""
    if tensor.shape is None:
        raise ValueError(f"model {served.name!r}: {tensor.name!r} has no shape; say how many dimensions it has")
    return tensor.shape[1:] if served.batching.most else tensor.shape


def _type(served: Served, tensor: Tensor) -> str:
    if tensor.dtype not in TYPES:
        raise ValueError(f"model {served.name!r}: {tensor.name!r} is {tensor.dtype}, which Triton has not")
    return TYPES[tensor.dtype]


def _dims(sides: Iterable[int | None]) -> str:
    return f"[ {', '.join('-1' if side is None else str(side) for side in sides)} ]"


def _policy(versions: Versions) -> str:
    if versions.only:
        return f"specific {{ versions: {_dims(versions.only)} }}"
    return f"latest {{ num_versions: {versions.latest} }}" if versions.latest else "all { }"


def _ovms_policy(versions: Versions) -> dict[str, Any]:
    if versions.only:
        return {"specific": {"versions": list(versions.only)}}
    return {"latest": {"num_versions": versions.latest}} if versions.latest else {"all": {}}


def _quoted(text: str) -> str:
    return json.dumps(text)


def _replace(path: Path, text: str) -> None:
    making = path.with_name(f".{path.name}.making")
    making.write_text(text, encoding="utf-8")
    os.replace(making, path)
