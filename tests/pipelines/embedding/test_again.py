"""Stored cells are embedded again from their tables, as often as it takes, and the tables that were delivered stay."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from compose.cli import app
from pipelines.embedding.again import embed_again
from pipelines.embedding.atlas import Atlas
from pipelines.embedding.model import Encoder
from pipelines.embedding.table import read_parquet, vectors_of
from pipelines.nuclei.model import ModelFolder
from tests.pipelines.embedding.cells import COUNT, picture, processed, variant


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Tables of two jobs, one of them without crops, and a file that is no table."""
    for job, crops in (("one", "true"), ("two", "false")):
        processed(tmp_path / "results" / job, picture(), crops=crops)
    (tmp_path / "results" / "bad_cells.parquet").write_bytes(b"PAR1 or not")
    return tmp_path / "results"


def test_all_that_can_be_is_embedded_and_the_rest_is_named(stored: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in stored.rglob("*.parquet")}
    new = ModelFolder(variant(tmp_path / "models", "7"))

    done = {str(one.table): one for one in embed_again(stored, tmp_path / "new", Encoder(new), Atlas(new))}

    assert {path: path.read_bytes() for path in stored.rglob("*.parquet")} == before
    assert "no Parquet file" in done["bad_cells.parquet"].trouble
    assert "crops=false" in done["two/out/a_cells.parquet"].trouble
    assert done["one/out/a_cells.parquet"].cells == COUNT
    old, fresh = (read_parquet(folder / "one/out/a_cells.parquet") for folder in (stored, tmp_path / "new"))
    assert fresh.column_names == old.column_names
    assert fresh.schema.metadata[b"model_sha256"].decode() == new.sha256
    assert set(fresh.column("model_version").to_pylist()) == {"7"}
    assert vectors_of(fresh) == pytest.approx(vectors_of(old), abs=1e-3), "it is the same network"
    assert fresh.column("area").equals(old.column("area"))


def test_what_is_done_is_not_done_again_and_what_was_interrupted_is(stored: Path, tmp_path: Path) -> None:
    out, encoder = tmp_path / "new", Encoder()
    list(embed_again(stored, out, encoder, None))
    table = out / "one/out/a_cells.parquet"
    first = table.stat().st_mtime_ns

    assert [one.cells for one in embed_again(stored, out, encoder, None) if not one.trouble] == [COUNT]
    assert table.stat().st_mtime_ns == first
    table.unlink()
    table.with_name(table.name + ".part").write_bytes(b"half")
    list(embed_again(stored, out, encoder, None))
    assert np.isnan(read_parquet(table).column("map_x").to_pylist()).all()
    assert not list(out.rglob("*.part"))


def test_the_delivered_tables_are_never_written_over(stored: Path) -> None:
    with pytest.raises(ValueError, match="another folder"):
        list(embed_again(stored, stored / "." / ".", Encoder(), None))


def test_the_command_shows_how_far_it_is_and_ends_with_an_error_where_tables_were_left_out(
    stored: Path, tmp_path: Path
) -> None:
    command = ["cells", "re-embed", str(stored), "--out", str(tmp_path / "new")]

    result = CliRunner().invoke(app, command)

    assert result.exit_code == 1
    assert f"{COUNT} cells embedded by version 1; 2 tables left out" in result.output
    assert "crops=false" in result.output
    (stored / "bad_cells.parquet").unlink()
    (stored / "two/out/a_cells.parquet").unlink()
    assert CliRunner().invoke(app, command).exit_code == 0
