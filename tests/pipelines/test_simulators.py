"""The simulators answer exactly as the contract's table says, for a file of any kind."""

from pathlib import Path

import pytest

from pipelines.plugin import Pipeline, Result, Work
from pipelines.simulators import FileAndResults, MultiFile, OnlyFile, OnlyResults, simulated

TABLE = [
    (OnlyFile(), "only-file", "OnlyFile", Result(("a.b-sim.tiff",), "", "passed")),
    (MultiFile(), "multi-file", "MultiFile", Result(tuple(f"a.b-sim{n}.tiff" for n in range(5)), "", "none")),
    (OnlyResults(), "only-results", "OnlyResults", Result((), "CellCount, 598", "none")),
    (FileAndResults(), "file-and-results", "FileAndResults", Result(("a.b-sim.tiff",), "CellCount, 101", "passed")),
]


@pytest.mark.parametrize(("pipeline", "topic", "name", "result"), TABLE)
def test_a_simulator_answers_as_the_contract_says(
    tmp_path: Path, pipeline: Pipeline, topic: str, name: str, result: Result
) -> None:
    image, folder = tmp_path / "a.b.tiff", tmp_path / "scratch"
    image.write_bytes(b"not even an image")
    folder.mkdir()

    assert isinstance(pipeline, Pipeline)
    assert (pipeline.topic, pipeline.name) == (topic, name)
    assert pipeline.run(Work(image, folder)) == result
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == dict.fromkeys(
        result.outputs, b"not even an image"
    )


@pytest.mark.parametrize(("pipeline", "topic", "name", "result"), TABLE)
def test_a_simulator_fails_where_its_file_is_missing(
    tmp_path: Path, pipeline: Pipeline, topic: str, name: str, result: Result
) -> None:
    with pytest.raises(FileNotFoundError):
        pipeline.run(Work(tmp_path / "absent.tif", tmp_path))


@pytest.mark.parametrize(
    ("name", "copy"),
    [("x.tiff", "x-sim.tiff"), ("a.b.c", "a.b-sim.c"), ("noext", "noext-sim"), (".hidden", ".hidden-sim")],
)
def test_a_copy_is_named_after_its_stem(name: str, copy: str) -> None:
    assert simulated(name, "-sim") == copy
