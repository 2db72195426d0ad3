"""What models are built of: weights in a file without code, and those that come back out of an OpenVINO model."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest

pytest.importorskip("torch", reason="building needs the extra [train]: make test-train")
pytest.importorskip("nncf", reason="building needs the extra [train]: make test-train")

import torch

from pipelines.build import source
from pipelines.build.errors import BadSource
from pipelines.build.onnx_export import Probabilities, exported
from pipelines.build.openvino_int8 import converted
from pipelines.nuclei.model import Model, shipped
from pipelines.nuclei.networks import NETWORKS

SHIPPED = shipped().path / source.FILE


def test_the_shipped_source_is_the_network_of_the_shipped_model() -> None:
    planes = np.random.default_rng(0).random((3, 128, 192), np.float32)
    network, model = Probabilities(source.load(SHIPPED)).eval(), Model()

    with torch.no_grad():
        mine = [network(torch.from_numpy(plane)[None, None])[0].numpy() for plane in planes]

    for plane, maps in zip(planes, mine, strict=True):
        np.testing.assert_allclose(maps, model(plane), atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_come_back_out_of_a_converted_network(name: str) -> None:
    torch.manual_seed(1)
    network = NETWORKS[name]().eval()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):  # as after training
            part.running_mean.uniform_(-0.1, 0.1)
            part.running_var.uniform_(0.5, 2.0)
    picture = torch.rand(1, 1, 64, 64)

    again = source.recovered(converted(exported(Probabilities(network))), name)

    with torch.no_grad():
        torch.testing.assert_close(again(picture), network(picture), atol=1e-4, rtol=1e-4)


def test_a_model_of_another_network_gives_no_weights() -> None:
    graph = ov.Core().read_model(shipped().path / "fp32" / "model.xml")

    with pytest.raises(BadSource, match="made of another"):
        source.recovered(graph, "m2unet")


def test_a_quantised_model_gives_no_weights() -> None:
    graph = ov.Core().read_model(shipped().path / "int8" / "model.xml")

    with pytest.raises(BadSource, match="take that in FP32"):
        source.recovered(graph, "dense-unet")


def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(SHIPPED.read_bytes()[:5000])
    with pytest.raises(BadSource, match=r"model\.safetensors: no weights can be read .* train the model again"):
        source.load(path)
    with pytest.raises(BadSource, match="no weights can be read"):
        source.load(tmp_path / "absent.safetensors")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    source.save(NETWORKS["m2unet"](), "dense-unet", tmp_path / "a")
    source.save(NETWORKS["m2unet"](), "resnet", tmp_path / "b")

    with pytest.raises(BadSource, match="not those of dense-unet"):
        source.load(tmp_path / "a")
    with pytest.raises(BadSource, match="for the network 'resnet'; there are: dense-unet, m2unet"):
        source.load(tmp_path / "b")


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    network = source.load(SHIPPED)
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)
    source.save(network, "dense-unet", tmp_path / "nan")

    with pytest.raises(BadSource, match="holds NaN or infinity"):
        source.load(tmp_path / "nan")
