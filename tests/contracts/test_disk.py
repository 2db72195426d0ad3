"""Durable file operations: names stay inside, nothing is overwritten, crashes leave nothing half done."""

import errno
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import disk
from contracts.errors import BadRequest, Full


def test_a_placed_file_has_its_content_and_no_temporary_is_left(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "there").write_bytes(b"old")

    disk.place(tmp_path / "new", tmp_path / "there")

    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_bytes() == b"new"


def test_place_new_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "there").write_bytes(b"old")

    assert not disk.place_new(tmp_path / "new", tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == b"old"
    assert (tmp_path / "new").read_bytes() == b"new"
    assert disk.place_new(tmp_path / "new", tmp_path / "elsewhere")
    assert not (tmp_path / "new").exists()


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    assert not disk.place_new(tmp_path / "new", tmp_path / "link")


def test_a_kept_temporary_is_a_second_name_of_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")

    assert disk.place_new(tmp_path / "new", tmp_path / "target", keep=True)
    assert (tmp_path / "new").samefile(tmp_path / "target")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_without_hard_links_it_is_a_rename_that_does_not_overwrite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "there").write_bytes(b"old")

    assert not disk.place_new(tmp_path / "new", tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == b"old"
    assert disk.place_new(tmp_path / "new", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"new"
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
@pytest.mark.parametrize("put", [disk.place, disk.place_new])
def test_across_file_systems_the_file_is_copied_whole(tmp_path: Path, put: object) -> None:
    source = Path("/dev/shm") / f"cytobus-{os.getpid()}"
    source.write_bytes(b"x" * 100_000)
    if source.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system only")

    assert put(source, tmp_path / "target") is not False  # type: ignore[operator]

    assert (tmp_path / "target").read_bytes() == b"x" * 100_000
    assert not source.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named() -> None:
    with pytest.raises(Full, match="/dev/full"), disk.room_at(Path("/dev/full")), Path("/dev/full").open("wb", 0) as f:
        f.write(b"x")


def test_other_troubles_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        disk.place(tmp_path / "nothing", tmp_path / "target")


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    disk.make_folder(tmp_path / "a" / "b" / "c")
    disk.make_folder(tmp_path / "a" / "b" / "c")

    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_file_where_a_folder_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")

    with pytest.raises(FileExistsError):
        disk.make_folder(tmp_path / "a")


@given(content=st.binary(max_size=5000))
def test_the_digest_is_sha256(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("digest") / "file"
    path.write_bytes(content)

    assert disk.sha256_of(path) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "name", ["a.tif", "with space.tif", "zwei\nZeilen", "ü" * 127, "x" * 255, "…", ".hidden", "a..b"]
)
def test_any_bare_name_will_do(name: str, tmp_path: Path) -> None:
    assert disk.bare_name(name) == name
    (tmp_path / name).write_bytes(b"")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0b", "x" * 256, "ü" * 128, "\ud800"])
def test_what_is_no_bare_name_is_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        disk.bare_name(name)


@pytest.mark.parametrize("name", ["con", "NUL.txt", "com1.tif", "a.", "a ", "a:b", "a?", "tab\t"])
def test_windows_has_more_to_refuse(name: str) -> None:
    assert disk.bare_name(name, windows=False) == name

    with pytest.raises(BadRequest, match="Windows"):
        disk.bare_name(name, windows=True)


@pytest.mark.parametrize("path", ["..", "../x", "a/../../x", "/etc/passwd", "out/x", "a\0b"])
def test_what_leads_out_is_refused(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)

    with pytest.raises(BadRequest):
        disk.inside(root, path)


@given(path=st.text(max_size=30))
def test_whatever_is_said_to_be_inside_is(tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    root = tmp_path_factory.getbasetemp()
    try:
        found = disk.inside(root, path)
    except BadRequest:
        return
    assert found.is_relative_to(root.resolve())
