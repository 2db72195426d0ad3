"""Parts of images: of every kind of file what a plain reading of all of it would show."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from gateway.file_sender import slide
from gateway.file_sender.kept import KeptParts
from gateway.file_sender.tiles import Look, about, coloured, thumbnail, tile
from tests.support import stories as s

RANDOM = np.random.default_rng(7)
GREY = RANDOM.integers(0, 4000, (700, 900), dtype=np.uint16)
COLOUR = RANDOM.integers(0, 255, (300, 500, 3), dtype=np.uint8)


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def expected(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((pixels.astype(np.float32) - low) * (255 / (high - low)), 0, 255).astype(np.uint8)


KINDS = {
    "one strip": {},
    "strips": {"rowsperstrip": 7},
    "packed strips": {"rowsperstrip": 64, "compression": "zlib", "predictor": True},
    "packed in one": {"rowsperstrip": 700, "compression": "zlib"},
    "tiles": {"tile": (128, 256)},
    "packed tiles": {"tile": (64, 64), "compression": "zlib"},
    "other byte order": {"byteorder": ">", "rowsperstrip": 16},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("level", "x", "y"), [(0, 0, 0), (0, 3, 2), (1, 1, 0), (2, 0, 0), (1, 0, 1)])
def test_a_tile_is_what_a_reading_of_the_whole_shows_there(tmp_path, kind, level, x, y):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, **KINDS[kind])
    step = 2**level
    whole = GREY[::step, ::step][y * 256 : (y + 1) * 256, x * 256 : (x + 1) * 256]
    found = opened(tile(path, Look(level, x, y, low=100, high=3000)))
    assert np.array_equal(found, expected(whole, 100, 3000))


@pytest.mark.parametrize("more", [{}, {"planarconfig": "separate"}, {"tile": (64, 64), "compression": "zlib"}])
def test_colours_stay_colours_however_they_lie_in_the_file(tmp_path, more):
    path = tmp_path / "a.tif"
    pixels = np.moveaxis(COLOUR, -1, 0) if more.get("planarconfig") else COLOUR
    tifffile.imwrite(path, pixels, photometric="rgb", **more)
    assert np.array_equal(opened(tile(path, Look(0, 1, 0))), COLOUR[:256, 256:500])


def test_channels_are_told_and_shown_one_by_one(tmp_path):
    path = tmp_path / "a.tif"
    stack = RANDOM.integers(0, 255, (3, 200, 210), dtype=np.uint8)
    tifffile.imwrite(path, stack, photometric="minisblack", metadata={"axes": "CYX"})
    assert about(path)["Channels"] == 3
    for channel in range(3):
        found = opened(tile(path, Look(channel=channel, low=0, high=255)))
        assert np.array_equal(found, stack[channel])
    with pytest.raises(ValueError, match="no channel 3"):
        tile(path, Look(channel=3))


def test_levels_that_a_file_has_are_used_and_not_made_again(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(GREY, subifds=1, tile=(128, 128))
        writer.write(np.full((350, 450), 77, np.uint16), subfiletype=1, tile=(128, 128))
    assert set(np.unique(opened(tile(path, Look(1, 0, 0, low=0, high=255))))) == {77}
    assert np.array_equal(opened(tile(path, Look(0, low=0, high=4000))), expected(GREY[:256, :256], 0, 4000))


def test_a_large_image_is_read_in_the_parts_that_are_looked_at(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    large = np.arange(6000 * 5000, dtype=np.uint32).reshape(6000, 5000).astype(np.uint16)
    tifffile.imwrite(path, large, tile=(256, 256), compression="zlib")
    decoded = []
    decode = slide.Parts._decoded  # noqa: SLF001
    monkeypatch.setattr(slide.Parts, "_decoded", lambda self, n: decoded.append(n) or decode(self, n))
    found = opened(tile(path, Look(0, 5, 5, low=0, high=65535)))
    assert np.array_equal(found, expected(large[1280:1536, 1280:1536], 0, 65535))
    assert len(decoded) == 1
    tile(path, Look(4, 0, 0))
    read = len(decoded)
    tile(path, Look(3, 1, 1, low=0, high=1))
    assert len(decoded) == read, "the overview is read once"


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg"])
def test_other_pictures_are_shown_too(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(COLOUR).save(path)
    assert about(path)["Colour"] is True
    assert opened(tile(path, Look(0, 1, 1))).shape == (44, 244, 3)


def test_sixteen_bits_of_a_png_are_not_cut(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(GREY).save(path)
    assert about(path)["Type"] == "uint16"
    assert np.array_equal(opened(tile(path, Look(low=0, high=4000))), expected(GREY[:256, :256], 0, 4000))


def test_what_is_told_of_an_image_lets_one_choose_its_contrast(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY)
    found = about(path)
    assert (found["Width"], found["Height"], found["Type"], found["Levels"]) == (900, 700, "uint16", 3)
    assert found["Least"] <= found["Low"] < found["High"] <= found["Most"]
    assert (len(found["Histogram"]), sum(found["Histogram"])) == (64, GREY.size)


def test_labels_have_colours_and_nothing_is_transparent(tmp_path):
    path = tmp_path / "a.tif"
    labels = np.zeros((100, 100), np.uint32)
    labels[10:20, 10:20], labels[50:60, 50:60] = 1, 70_000
    tifffile.imwrite(path, labels)
    found = opened(tile(path, Look(labels=True)))
    assert found[0, 0, 3] == 0
    assert found[15, 15, 3] == found[55, 55, 3] == 255
    assert not np.array_equal(found[15, 15], found[55, 55])


def test_neighbouring_labels_look_different():
    found = coloured(np.arange(1, 50)[None])[0].astype(int)
    assert np.abs(np.diff(found, axis=0)).sum(axis=1).min() > 60


def test_a_thumbnail_is_small(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY)
    assert max(opened(thumbnail(path, 64)).shape) <= 64


@pytest.fixture
async def pictured(house):
    """A job whose input lies at the gateway, and how to ask for it."""
    tifffile.imwrite(house.files.input / "a.tiff", GREY)
    await house.store.apply([s.created(), s.sending(), s.input_delivered(folder=str(house.files.input))])

    async def asked(path: str):
        return await house.call(house.sender, "GET", f"/api/v1/pictures/job-1{path}")

    yield asked
    house.sender._pictures.close()  # noqa: SLF001


async def test_the_routes_show_a_jobs_input(pictured):
    assert (await pictured("/input")).json()["Width"] == 900
    answer = await pictured("/input/tiles?level=0&x=1&y=1&low=0&high=4000")
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(opened(answer.content), expected(GREY[256:512, 256:512], 0, 4000))
    assert opened((await pictured("/input/thumbnail?side=100")).content).shape[1] <= 100


@pytest.mark.parametrize(("path", "status"), [
    ("/0", 404), ("/x", 404), ("/input/tiles?level=-1", 400), ("/input/tiles?x=99", 422), ("/input/tiles?size=8", 400),
    ("/input/tiles?low=nan", 400), ("/input/tiles?labels=maybe", 400), ("/input/thumbnail?side=1e9", 400),
    ("/input/tiles?channel=7", 422), ("/input/tiles?level=24&x=1", 422),
])  # fmt: skip
async def test_what_is_not_there_or_cannot_be_asked_is_refused(pictured, path, status):
    assert (await pictured(path)).status_code == status


@pytest.mark.parametrize("content", [b"", b"II*\0", b"no image", b"II*\0\xff\xff\xff\x7f" + bytes(50)])
async def test_what_is_no_image_after_all_is_refused_and_the_next_is_shown(house, pictured, content):
    (house.files.input / "b.tiff").write_bytes(content)
    await house.store.apply(
        [s.created("job-2", "b.tiff"), s.sending("job-2"), s.input_delivered("job-2", str(house.files.input))]
    )
    answer = await house.call(house.sender, "GET", "/api/v1/pictures/job-2/input")
    assert (answer.status_code, "cannot be shown" in answer.text) == (422, True)
    assert (await pictured("/input")).status_code == 200


def test_what_is_packed_in_one_piece_is_unpacked_once_and_kept_within_bounds(tmp_path, monkeypatch):
    reads = []
    read = slide.Parts._read  # noqa: SLF001
    monkeypatch.setattr(slide.Parts, "_read", lambda self, n: reads.append(n) or read(self, n))
    monkeypatch.setattr(slide, "KEPT", KeptParts(most_bytes=10_000_000))
    large = np.arange(2100 * 2000, dtype=np.uint32).reshape(2100, 2000).astype(np.uint16)
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, large, compression="zlib", rowsperstrip=2100)
    for x in range(4):
        found = opened(tile(tmp_path / "a.tif", Look(0, x, 3, low=0, high=65535)))
        assert np.array_equal(found, expected(large[768:1024, x * 256 : (x + 1) * 256], 0, 65535))
    assert len(reads) == 1
    tile(tmp_path / "b.tif", Look(0, 1, 1, low=0, high=65535))
    tile(tmp_path / "a.tif", Look(0, 1, 1, low=0, high=65535))
    assert len(reads) == 3, "two are more than are kept"


def test_parts_are_kept_where_there_is_no_room_for_files(monkeypatch):
    def full(*_asked, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    kept, part = KeptParts(), np.zeros((2, 2), np.uint8)
    calls = []
    for _ in range(2):
        assert kept.get((Path("a"), 1, 8), 4_000_000, lambda: calls.append(1) or part) is part
    assert calls == [1]
