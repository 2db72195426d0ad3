"""Whether an encoder may take the place of the one that ships."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from pipelines.embedding.atlas import Atlas
from pipelines.embedding.model import Encoder, shipped
from pipelines.embedding.trial import tried
from pipelines.nuclei.model import BrokenModel, ModelFolder
from pipelines.plugin import BadInput
from tests.pipelines.embedding.cells import SHIPPED, variant


def replaced(folder: Path, name: str, content: bytes) -> Path:
    """A file with other contents, which the metadata knows."""
    (folder / name).write_bytes(content)
    said = json.loads((folder / "metadata.json").read_text())
    said["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "metadata.json").write_text(json.dumps(said))
    return folder


def test_the_shipped_encoder_passes_its_own_trial() -> None:
    assert 0 < tried(SHIPPED) < 60


def test_every_shipped_file_is_the_one_that_the_metadata_names() -> None:
    for name in shipped().metadata["files"]:
        assert shipped().read(name)
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*")) < 3_000_000


def test_an_encoder_without_a_map_passes(tmp_path: Path) -> None:
    assert tried(variant(tmp_path, without_map=True)) > 0


BIN = (SHIPPED / "fp32" / "model.bin").read_bytes()


def untrained() -> bytes:
    """Weights of which the larger arrays are no numbers."""
    xml = (SHIPPED / "fp32" / "model.xml").read_text()
    arrays = re.findall(r'<data element_type="f16" shape="[^"]*" offset="(\d+)" size="(\d+)"', xml)
    whole = bytearray(BIN)
    for offset, size in [found for found in arrays if int(found[1]) > 1000]:
        whole[int(offset) : int(offset) + int(size)] = b"\x00\x7e" * (int(size) // 2)
    return bytes(whole)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("fp32/model.xml", b"<net/>", "read by OpenVINO|cannot run"),
        ("fp32/model.bin", BIN[: len(BIN) // 2], "OpenVINO cannot run|read by OpenVINO"),
        ("fp32/model.bin", untrained(), "not finite"),
        ("map/projector.bin", b"", "OpenVINO cannot run|read by OpenVINO"),
        ("map/places.npy", b"no array", "cannot be read"),
        ("map/vectors.npy", (SHIPPED / "map" / "places.npy").read_bytes(), "vectors and places are"),
    ],
)
def test_a_damaged_encoder_is_refused_with_the_reason(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        tried(replaced(variant(tmp_path), name, content))


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "evil.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)

    with pytest.raises(BadInput, match=r"cannot be read .*allow_pickle"):
        tried(replaced(variant(tmp_path), "map/vectors.npy", path.read_bytes()))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"classes": []}, "names of the classes"),
        ({"classes": ["a", "b"]}, "no encoder of cells"),
        ({"map": {"limit": "far"}}, "'limit' and 'expected'"),
        ({"files": {}}, "does not name fp32/model.xml"),
    ],
)
def test_metadata_that_do_not_fit_are_refused(tmp_path: Path, more: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        tried(variant(tmp_path, **more))


def test_a_changed_file_is_noticed_before_anything_is_run(tmp_path: Path) -> None:
    folder = variant(tmp_path)
    (folder / "fp32" / "model.bin").write_bytes(b"other")

    with pytest.raises(BrokenModel, match=r"model\.bin is not the file"):
        Encoder(ModelFolder(folder))


def test_the_maps_own_cells_lie_where_it_has_them_and_strange_ones_far_off() -> None:
    atlas = Atlas(shipped())
    apart = np.linalg.norm(atlas.places(atlas.reference) - atlas.reference_places, axis=1)
    strange = np.random.default_rng(1).normal(size=(300, 128)).astype(np.float32)
    strange /= np.linalg.norm(strange, axis=1, keepdims=True)

    assert np.median(apart) < 0.1 * atlas.reference_places.std()
    assert (atlas.novelty(atlas.reference) < atlas.reach.limit).mean() > 0.95
    assert (atlas.novelty(strange) > atlas.reach.limit).all()
    assert atlas.places(strange[:0]).shape == (0, 2)
