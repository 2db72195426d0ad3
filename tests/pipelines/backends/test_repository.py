"""Model repositories as they are written: read by Triton's own definition of ``config.pbtxt``."""

import json
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup

from pipelines.backends.openvino import OpenVino, repository
from pipelines.backends.repository import (
    FILES,
    Batching,
    Served,
    Versions,
    add_version,
    ovms_config,
    pbtxt,
    write_config,
    write_ovms,
)
from pipelines.backends.tensors import ModelRef, Signature, Tensor
from pipelines.nuclei.model import Model
from pipelines.nuclei.serving import main

SIGNATURE = Signature(
    (Tensor("image", "float32", (None, 1, None, None)),),
    (Tensor("maps", "float32", (None, 3, None, None)), Tensor("kind", "int64", (None,))),
)


def read(served: Served) -> ModelConfig:
    """Raises for a word that Triton does not know."""
    return text_format.Parse(pbtxt(served), ModelConfig())


@pytest.mark.parametrize("backend", FILES)
def test_triton_reads_what_was_meant(backend: str) -> None:
    served = Served(
        'a "model"',
        backend,
        SIGNATURE,
        batching=Batching(16, (4, 16), 2000),
        versions=Versions(latest=3),
        instances=2,
        warm_up=((1, 256, 256), (1, 64, 64)),
        parameters={"INFERENCE_PRECISION_HINT": "f32"},
    )

    config = read(served)

    assert (config.name, config.backend, config.max_batch_size) == ('a "model"', backend, 16)
    assert config.platform == ("tensorrt_plan" if backend == "tensorrt" else "")
    (image,), (maps, kind) = config.input, config.output
    assert (image.name, image.data_type, list(image.dims)) == ("image", DataType.TYPE_FP32, [1, -1, -1])
    assert (maps.name, list(maps.dims), kind.data_type, list(kind.dims)) == (
        "maps",
        [3, -1, -1],
        DataType.TYPE_INT64,
        [],
    )
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 16]
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    assert config.version_policy.latest.num_versions == 3
    (group,) = config.instance_group
    assert (group.count, group.kind) == (2, ModelInstanceGroup.KIND_CPU)
    assert [list(one.inputs["image"].dims) for one in config.model_warmup] == [[1, 256, 256], [1, 64, 64]]
    assert all(one.batch_size == 1 and one.inputs["image"].zero_data for one in config.model_warmup)
    assert config.parameters["INFERENCE_PRECISION_HINT"].string_value == "f32"


def test_without_batching_the_first_dimension_is_the_models_own() -> None:
    alone = Served("m", "onnxruntime", SIGNATURE, batching=Batching(0), warm_up=((1, 8, 8),), gpus=(0, 1))

    config = read(alone)

    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (0, False)
    assert list(config.input[0].dims) == [-1, 1, -1, -1]
    assert list(config.model_warmup[0].inputs["image"].dims) == [1, 1, 8, 8]
    assert (config.instance_group[0].kind, list(config.instance_group[0].gpus)) == (ModelInstanceGroup.KIND_GPU, [0, 1])


def test_versions_are_chosen_alike_for_both_servers() -> None:
    for versions, triton, ovms in (
        (Versions(2), "latest", {"latest": {"num_versions": 2}}),
        (Versions(0), "all", {"all": {}}),
        (Versions(only=(1, 3)), "specific", {"specific": {"versions": [1, 3]}}),
    ):
        served = Served("m", "openvino", SIGNATURE, versions=versions)
        assert read(served).version_policy.WhichOneof("policy_choice") == triton
        (entry,) = ovms_config([served], "/models/")["model_config_list"]
        assert entry["config"]["model_version_policy"] == ovms
        assert entry["config"]["base_path"] == "/models/m"


def test_what_no_server_could_take_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"backend 'caffe' is none of openvino"):
        Served("m", "caffe", SIGNATURE)
    with pytest.raises(ValueError, match="cannot name a folder"):
        Served("../m", "openvino", SIGNATURE)
    with pytest.raises(ValueError, match="preferred batch is larger"):
        Served("m", "openvino", SIGNATURE, batching=Batching(4, (8,)))
    with pytest.raises(ValueError, match="OpenVINO Model Server runs IR and ONNX"):
        ovms_config([Served("m", "tensorrt", SIGNATURE)], "/models")
    with pytest.raises(ValueError, match=r"version 1 lacks model\.bin"):
        add_version(tmp_path, Served("m", "openvino", SIGNATURE), 1, {"model.xml": b""})
    with pytest.raises(ValueError, match="version 0"):
        add_version(tmp_path, Served("m", "onnxruntime", SIGNATURE), 0, {"model.onnx": b""})
    with pytest.raises(ValueError, match="bfloat16, which Triton has not"):
        pbtxt(Served("m", "openvino", Signature((Tensor("x", "bfloat16", (None, 1)),), ())))


def test_a_version_appears_whole_or_not_at_all_and_is_never_changed(tmp_path: Path) -> None:
    served = Served("m", "onnxruntime", SIGNATURE)
    folder = add_version(tmp_path, served, 1, {"model.onnx": b"one"})
    write_config(tmp_path, served)

    with pytest.raises(FileExistsError, match="next version"):
        add_version(tmp_path, served, 1, {"model.onnx": b"two"})
    with pytest.raises(FileNotFoundError):
        add_version(tmp_path, served, 2, {"model.onnx": tmp_path / "nowhere"})

    assert (folder / "model.onnx").read_bytes() == b"one"
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "m", "m/1", "m/1/model.onnx", "m/config.pbtxt",
    ]  # fmt: skip


def test_the_repository_of_nuclei_gives_what_the_model_that_ships_gives(tmp_path: Path) -> None:
    main([str(tmp_path), "--for", "triton-openvino"])
    main([str(tmp_path), "--for", "triton-openvino"])  # what is there stays
    main([str(tmp_path / "ovms"), "--for", "ovms", "--base", "/srv/models"])

    plane = np.random.default_rng(5).random((64, 128), np.float32)
    batch = np.stack([plane, plane[::-1]])[:, None]
    served = OpenVino(repository(tmp_path)).infer_now(ModelRef("nuclei"), {"image": np.ascontiguousarray(batch)})
    np.testing.assert_allclose(served.outputs["maps"][0], Model()(plane), atol=2e-2)  # bf16 where there is such
    config = text_format.Parse((tmp_path / "nuclei/config.pbtxt").read_text(), ModelConfig())
    assert (config.name, config.backend) == ("nuclei", "openvino")
    entries = json.loads((tmp_path / "ovms/config.json").read_text())["model_config_list"]
    assert [entry["config"]["base_path"] for entry in entries] == ["/srv/models/nuclei", "/srv/models/nuclei-int8"]


def test_a_configuration_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = write_ovms(tmp_path / "config.json", [Served("m", "openvino", SIGNATURE)], "/models")
    write_ovms(path, [], "/models")

    assert json.loads(path.read_text()) == {"model_config_list": []}
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
