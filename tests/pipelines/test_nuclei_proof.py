"""Which model has made a result, wherever it ran."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import tifffile

from pipelines.backends.address import parsed
from pipelines.backends.errors import BadOutput, Exchanged, Mismatch
from pipelines.nuclei import proof
from pipelines.nuclei.model import VERSION, Model, shipped
from pipelines.nuclei.pipeline import Nuclei, _model
from pipelines.nuclei.serving import export
from pipelines.plugin import Work
from tests.doubles.ovms import OvmsDouble
from tests.pipelines.backends.networks import flat_maps, save

OTHER = "9"
"""A version that does not ship."""
PLANE = np.random.default_rng(5).random((64, 64), np.float32)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[OvmsDouble]:
    """The shipped models at a double of OpenVINO Model Server; its folder is ``tmp_path / "at"``."""
    export(tmp_path / "at", "ovms", base=str(tmp_path / "at"))
    double = OvmsDouble(tmp_path / "at" / "config.json")
    yield double
    double.stop()


def put(served: OvmsDouble, folder: Path, network: ov.Model | None, name: str = "nuclei", version: str = OTHER) -> None:
    """Serve this as a version of a model; None: a copy of the shipped one."""
    place = folder / "at" / name / version
    shutil.rmtree(place, ignore_errors=True)
    if network is None:
        shutil.copytree(place.with_name(VERSION), place)
    else:
        save(network, place)
    served.restart()


def asked(served: OvmsDouble, options: str = "") -> Model:
    return Model(address=parsed(served.address("grpc") + options))


def test_a_servers_version_that_does_what_ours_does_is_recorded_with_our_digest(served: OvmsDouble) -> None:
    model = asked(served)
    model.ready()
    model(PLANE)
    where = served.address("grpc")
    assert model.used() == {"version": VERSION, "sha256": shipped().sha256, "name": "nuclei", "place": where}
    model.close()


def test_a_version_that_is_not_known_here_is_recorded_without_a_digest(served: OvmsDouble, tmp_path: Path) -> None:
    put(served, tmp_path, flat_maps(0.5))
    model = asked(served)
    model.ready()
    model(PLANE)
    assert (model.used()["version"], model.used()["sha256"]) == (OTHER, "")
    model.close()


def test_our_number_on_another_model_is_a_mismatch_unless_it_has_a_name_of_its_own(
    served: OvmsDouble, tmp_path: Path
) -> None:
    put(served, tmp_path, flat_maps(0.5), version=VERSION)
    model = asked(served)
    said = rf"model 'nuclei' version {VERSION} at kserve\+grpc.* 'maps' differ by 0\.\d+ .*; serve"
    with pytest.raises(Mismatch, match=said):
        model.ready()
    model.close()

    (tmp_path / "at" / "nuclei").rename(tmp_path / "at" / "theirs")
    config = (tmp_path / "at" / "config.json").read_text().replace('nuclei"', 'theirs"').replace("/nuclei", "/theirs")
    (tmp_path / "at" / "config.json").write_text(config.replace("theirs-int8", "nuclei-int8"))
    served.restart()
    other = asked(served, "?model=theirs")
    other.ready()
    other(PLANE)
    assert other.used() == {"version": VERSION, "sha256": "", "name": "theirs", "place": served.address("grpc")}
    other.close()


def test_a_version_that_comes_while_images_are_processed_is_proven_and_named_from_the_next_image_on(
    served: OvmsDouble, tmp_path: Path
) -> None:
    model = asked(served)
    model.ready()
    model(PLANE)
    put(served, tmp_path, None)
    with pytest.raises(Exchanged, match="was exchanged meanwhile"):
        model(PLANE)
    model.ready()
    model(PLANE)
    assert model.used()["version"] == OTHER
    model.close()


def test_maps_that_are_no_numbers_are_named_before_an_image_is_read(served: OvmsDouble, tmp_path: Path) -> None:
    put(served, tmp_path, flat_maps(float("nan")))
    model = asked(served)
    with pytest.raises(BadOutput, match=rf"model 'nuclei' version {OTHER} at .* gave NaN or infinity in output 'maps'"):
        model.ready()
    model.close()


def test_the_same_network_in_lower_precision_passes_and_weights_that_are_off_do_not(monkeypatch) -> None:
    for side in (64, None):
        plane = proof.sized((side, side))
        seen = {precision: Model(precision=precision)(plane) for precision in ("fp32", "int8")}
        assert 0 < np.abs(seen["fp32"] - seen["int8"]).mean() < proof.NEAR / 2
        assert np.abs(seen["fp32"] - seen["fp32"].mean()).mean() > 10 * proof.NEAR


def test_a_model_for_one_size_is_proven_with_that_size(served: OvmsDouble, tmp_path: Path) -> None:
    network = ov.Core().read_model(tmp_path / "at" / "nuclei" / VERSION / "model.xml")
    network.reshape([1, 1, 64, 128])
    put(served, tmp_path, network, version=VERSION)
    model = asked(served)
    model.ready()
    wide = np.zeros((64, 128), np.float32)
    model(wide)
    assert model.used()["sha256"] == shipped().sha256
    with pytest.raises(Mismatch, match=r"input 'image' is float32 \[1, 1, 64, 64\]"):
        model(wide[:, :64])
    model.close()


@pytest.mark.parametrize("batch", [1, 4])
def test_a_tiled_image_is_the_same_whether_tiles_go_alone_or_together_and_the_result_names_the_model(
    served: OvmsDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    chance = np.random.default_rng(2)
    tifffile.imwrite(tmp_path / "a.tif", chance.integers(0, 255, (80, 1100), np.uint8))
    maps = {}
    for place in ("openvino", f"{served.address('grpc')}?batch={batch}&at_once=2"):
        monkeypatch.setenv("CYTOBUS_PIPELINES__BACKENDS", json.dumps({"nuclei": place}))
        _model.cache_clear()
        (out := tmp_path / place[:4]).mkdir()
        result = json.loads(Nuclei().run(Work(tmp_path / "a.tif", out)).results)
        assert result["model"] == {
            "version": VERSION,
            "sha256": shipped().sha256,
            "name": "nuclei",
            "place": place.partition("?")[0],
        }
        maps[place] = tifffile.imread(out / "a_labels.tif")
        _model("fp32", None).close()
    _model.cache_clear()
    here, there = maps.values()
    assert np.mean(here != there) < 1e-3
