"""What the double of OpenVINO Model Server serves."""

import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from tritonclient.utils import np_to_triton_dtype


class Wrong(Exception):
    """What a client has done wrong, as an HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Models:
    """What ``config.json`` names, in the versions that its policies choose."""

    def __init__(self, config: Path) -> None:
        self._config, self._core, self._lock = config, ov.Core(), threading.Lock()
        self._compiled: dict[tuple[str, int], Any] = {}
        self.reload()

    def reload(self) -> bool:
        """Read the configuration and the folders anew; whether anything is different."""
        wanted: dict[tuple[str, int], Path] = {}
        for entry in json.loads(self._config.read_text())["model_config_list"]:
            one = entry["config"]
            there = sorted(int(p.name) for p in Path(one["base_path"]).iterdir() if p.name.isdecimal())
            policy = one.get("model_version_policy", {"latest": {"num_versions": 1}})
            if "specific" in policy:
                there = [version for version in there if version in policy["specific"]["versions"]]
            elif "latest" in policy:
                there = there[-policy["latest"]["num_versions"] :]
            wanted |= {(one["name"], version): Path(one["base_path"]) / str(version) for version in there}
        fresh = {}
        for key, path in wanted.items():
            if key not in self._compiled:
                with suppress(RuntimeError):  # what cannot be read is not served; the others are
                    settings = {"INFERENCE_PRECISION_HINT": "f32"}
                    fresh[key] = self._core.compile_model(path / "model.xml", "CPU", settings)
        with self._lock:
            kept = {key: model for key, model in self._compiled.items() if key in wanted}
            changed = bool(fresh) or len(kept) != len(self._compiled)
            self._compiled = kept | fresh
        return changed

    def find(self, name: str, version: int) -> tuple[int, Any]:
        """A model by version; 0: the newest."""
        with self._lock:
            there = self.versions(name)
            if not there:
                raise Wrong(404, "Model with requested name is not found")
            version = version or there[-1]
            if version not in there:
                raise Wrong(404, "Model with requested version is not found")
            return version, self._compiled[name, version]

    def versions(self, name: str) -> list[int]:
        return sorted(version for known, version in self._compiled if known == name)

    def status(self) -> dict[str, Any]:
        """The answer of ``/v1/config``."""
        good = {"error_code": "OK", "error_message": "OK"}
        return {
            name: {
                "model_version_status": [
                    {"version": str(version), "state": "AVAILABLE", "status": good} for version in self.versions(name)
                ]
            }
            for name in sorted({name for name, _ in self._compiled})
        }

    def infer(self, name: str, version: int, inputs: Mapping[str, np.ndarray]) -> tuple[int, dict[str, np.ndarray]]:
        version, model = self.find(name, version)
        known = {port.get_any_name(): port for port in model.inputs}
        if known.keys() != inputs.keys():
            raise Wrong(400, f"Invalid input names - Expected: {sorted(known)}; Actual: {sorted(inputs)}")
        for key, array in inputs.items():
            if known[key].get_element_type().to_dtype() != array.dtype:
                raise Wrong(400, f"Invalid input precision - Expected: FP32; Actual: {array.dtype}")
            if not known[key].get_partial_shape().compatible(ov.PartialShape(list(array.shape))):
                raise Wrong(400, f"Invalid input shape - Actual: {array.shape}")
        made = model.create_infer_request().infer(dict(inputs))
        return version, {port.get_any_name(): np.array(made[port]) for port in model.outputs}


def described(ports: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": port.get_any_name(),
            "datatype": np_to_triton_dtype(port.get_element_type().to_dtype()),
            "shape": [side.get_length() if side.is_static else -1 for side in port.get_partial_shape()],
        }
        for port in ports
    ]


def model_metadata(models: Models, name: str, version: int) -> dict[str, Any]:
    number, model = models.find(name, version)
    versions = [str(version) for version in models.versions(name)] if not version else [str(number)]
    ports = {"inputs": described(model.inputs), "outputs": described(model.outputs)}
    return {"name": name, "versions": versions, "platform": "OpenVINO", **ports}
