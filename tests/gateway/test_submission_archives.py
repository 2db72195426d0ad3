"""Archives that people submit: each image a job, everything else said, whatever was put into them."""

import io
import struct
import zipfile

import pytest

from contracts.errors import Full
from contracts.models import State
from gateway.file_receiver.admission import Admission
from gateway.submission.archives import opened
from gateway.submission.rules import Limits, Refused
from tests.gateway.submitting import TUS, desk_in, image, packed, processed
from tests.support.house import house_in
from tests.support.waiting import eventually


@pytest.fixture
async def house(tmp_path):
    async with house_in(tmp_path) as house:
        yield house


@pytest.fixture
async def desk(house):
    async with desk_in(house) as desk:
        yield desk


async def names(desk, batch: str) -> list[str]:
    return sorted(f"{job.origin_dir}/{job.input_file.name}" for job in await desk.jobs(batch))


def nothing_aside(desk) -> bool:
    """Of what was unpacked nothing is left but the mark that it was."""
    return {path.suffix for path in (desk.house.files.input / "submitted" / ".uploads").iterdir()} <= {".done"}


async def test_each_image_of_an_archive_is_a_job_and_the_rest_is_told_entry_by_entry(desk):
    batch = await desk.batch()
    content = packed({
        "plate/a.tif": image(1), "plate/deep/b.tif": image(2), "c.tiff": image(3), "plate/": b"",
        "__MACOSX/._a.tif": b"x", "plate/Thumbs.db": b"x", "plate/.DS_Store": b"x",
        "notes.txt": b"hello", "empty.tif": b"", "inner.zip": packed({"d.tif": image(4)}),
        "../../up.tif": image(5), "/root.tif": image(6), "a\\..\\..\\b.tif": image(7), "CON.tif": image(8),
        "fake.tif": b"I am no image",
    })  # fmt: skip
    assert (await desk.submit(batch, "up/plates.zip", content)).status_code == 201
    entries = await desk.unpacked(batch, "up/plates.zip")

    assert await names(desk, batch) == ["/c.tiff", "plate/a.tif", "plate/deep/b.tif"]
    assert entries.pop("up/plates.zip") == ("unpacked", "3 of 11 files are images and became jobs")
    said = {name.removeprefix("up/plates.zip/"): words for name, (what, words) in entries.items() if what == "refused"}
    assert said.keys() == {
        *("notes.txt", "empty.tif", "inner.zip", "../../up.tif", "/root.tif", "a\\..\\..\\b.tif", "CON.tif"), "fake.tif"
    }  # fmt: skip
    assert "not an image" in said["notes.txt"]
    assert "not an image" in said["fake.tif"]
    assert "submit it by itself" in said["inner.zip"]
    assert all("leads elsewhere" in said[name] for name in ("../../up.tif", "/root.tif", "a\\..\\..\\b.tif"))
    root = desk.house.files.root
    assert not list(root.parent.rglob("*up.tif"))
    job = next(job for job in await desk.jobs(batch) if job.input_file.name == "b.tif")
    assert desk.house.files.input_path(job.input_file).read_bytes() == image(2)
    await eventually(lambda: nothing_aside(desk))


async def test_a_repetition_of_an_archive_and_of_what_is_in_it_makes_no_second_jobs(desk):
    batch, content = await desk.batch(), packed({"a.tif": image(1), "b.tif": image(2)})
    await desk.submit(batch, "x.zip", content)
    await desk.unpacked(batch, "x.zip")
    for job in await desk.jobs(batch):
        await processed(desk.house, job, {f"{job.input_file.name}.csv": b"1"})
    await desk.submit(batch, "x.zip", content)
    await desk.submit(batch, "y.zip", content)
    await desk.unpacked(batch, "y.zip")
    await desk.submit(batch, "a.tif", image(1))
    assert [job.state for job in await desk.jobs(batch)] == [State.COMPLETE] * 2
    assert not list((desk.house.files.input / "submitted").rglob("*.tif"))


async def test_a_restart_in_the_middle_of_an_archive_goes_on_with_it(house):
    """The first life is refused any room after three entries, as by a disk that is full."""
    content = packed({f"{n}.tif": image(n) for n in range(8)})
    room = Narrow(3)
    async with desk_in(house, admission=room) as desk:
        batch = await desk.batch()
        await desk.submit(batch, "x.zip", content)
        await eventually(lambda: room.refusals)
        assert len(await desk.jobs(batch)) == 3
        url = (await desk.create(batch, "x.zip", content)).headers["location"]
        assert (await desk.client.head(url, headers=TUS)).headers["upload-offset"] == str(len(content))
    async with desk_in(house) as desk:
        entries = await desk.unpacked(batch, "x.zip")
        assert entries["x.zip"] == ("unpacked", "8 of 8 files are images and became jobs")
        assert len(await desk.jobs(batch)) == 8
        await eventually(lambda: nothing_aside(desk))


class Narrow(Admission):
    """Takes the archive and so many of its entries."""

    def __init__(self, entries: int) -> None:
        super().__init__()
        self.left, self.refusals = entries + 1, 0

    async def begin(self, length: int, promised: int = 0, *, packed: bool = False) -> None:
        if not self.left:
            self.refusals += 1
            raise Full("no room")
        self.left -= 1


async def test_full_disks_are_waited_for_and_nothing_is_told_as_refused(house):
    room = Narrow(1)
    async with desk_in(house, admission=room) as desk:
        batch = await desk.batch()
        await desk.submit(batch, "x.zip", packed({"a.tif": image(1), "b.tif": image(2)}))
        await eventually(lambda: room.refusals)
        assert (await desk.entries(batch))["x.zip"][0] == "unpacking"
        room.left = 5
        entries = await desk.unpacked(batch, "x.zip")
        assert list(entries) == ["x.zip"]
        assert len(await desk.jobs(batch)) == 2


async def test_a_receiver_in_a_process_of_its_own_does_the_same(house):
    async with desk_in(house, apart=True) as desk:
        batch = await desk.batch()
        await desk.submit(batch, "x.zip", packed({"a.tif": image(1), "b.txt": b"hello"}))
        assert (await desk.submit(batch, "c.tif", image(2))).status_code == 201
        assert (await desk.submit("none", "c.tif", image(2))).status_code == 404
        entries = await desk.unpacked(batch, "x.zip")
        assert {name: what for name, (what, _) in entries.items()} == {"x.zip": "unpacked", "x.zip/b.txt": "refused"}
        assert await names(desk, batch) == ["/a.tif", "/c.tif"]


async def test_an_entry_larger_than_files_may_be_is_refused_alone(house):
    async with desk_in(house, admission=Admission(most_bytes=20_000)) as desk:
        batch = await desk.batch()
        await desk.submit(batch, "x.zip", packed({"a.tif": image(1), "b.tif": image(2, size=128)}))
        entries = await desk.unpacked(batch, "x.zip")
        assert "gateway.max_file_mb" in entries["x.zip/b.tif"][1]
        assert await names(desk, batch) == ["/a.tif"]


def encrypted() -> bytes:
    made = bytearray(packed({"a.tif": image(1)}))
    for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        made[made.index(sign) + at] |= 1
    return bytes(made)


def link() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        info = zipfile.ZipInfo("a.tif")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return made.getvalue()


def broken() -> bytes:
    made = bytearray(packed({"a.tif": image(1)}, zipfile.ZIP_STORED))
    made[made.index(b"II*\0") + 100] ^= 0xFF
    return bytes(made)


def unknown_method() -> bytes:
    made = bytearray(packed({"a.tif": image(1)}, zipfile.ZIP_STORED))
    for sign, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        made[made.index(sign) + at] = 97
    return bytes(made)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (encrypted, "without a password"),
        (link, "no file"),
        (broken, "cannot be unpacked"),
        (unknown_method, "cannot be unpacked"),
    ],
)
async def test_an_entry_that_cannot_be_unpacked_is_told_and_hinders_no_other(desk, made, said):
    batch, content = await desk.batch(), made()
    whole = io.BytesIO(content)
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr("good.tif", image(9))
    await desk.submit(batch, "x.zip", whole.getvalue())
    entries = await desk.unpacked(batch, "x.zip")
    assert said in entries["x.zip/a.tif"][1]
    assert await names(desk, batch) == ["/good.tif"]


def many() -> bytes:
    return packed({f"{n}.tif": b"x" for n in range(60)})


def much() -> bytes:
    return packed({"a.tif": bytes(1_200_000)}, zipfile.ZIP_STORED)


def bomb() -> bytes:
    return packed({"a.tif": bytes(900_000)})


def lying() -> bytes:
    """Its end says that its directory has so many entries, and is so long, that no memory would hold it."""
    made = packed({"a.tif": image(1)})
    at = made.rindex(b"PK\x05\x06")
    return made[: at + 10] + struct.pack("<HI", 40, 2**31) + made[at + 16 :]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (many, "60 entries"),
        (much, "1200000 bytes"),
        (bomb, "taken for a trap"),
        (lying, "directory has 2147483648 bytes"),
        (lambda: b"no archive at all", "no zip archive"),
        (lambda: packed({"a.tif": image(1)})[:-30], "no zip archive"),
    ],
)
async def test_an_archive_of_which_too_much_would_come_or_that_is_none_is_refused_whole(house, made, said):
    limits = Limits(entries=50, bytes=1_000_000, ratio=100, free=100_000)
    async with desk_in(house, limits=limits) as desk:
        batch = await desk.batch()
        await desk.submit(batch, "x.zip", made())
        entries = await desk.unpacked(batch, "x.zip")
        assert entries["x.zip"][0] == "refused"
        assert said in entries["x.zip"][1]
        assert await desk.jobs(batch) == []
        await eventually(lambda: nothing_aside(desk))


def test_entries_that_lie_over_each_other_cannot_make_more_than_their_directory_says(tmp_path):
    """A thousand names for the same bytes: what they say they would become together is counted before any is read."""
    kernel = packed({"a.tif": bytes(10**6)})
    at = kernel.index(b"PK\x01\x02")
    entry = kernel[at : kernel.rindex(b"PK\x05\x06")]
    directory = b"".join(entry.replace(b"a.tif", b"%05d" % n) for n in range(1000))
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1000, 1000, len(directory), at, 0)
    path = tmp_path / "bomb.zip"
    path.write_bytes(kernel[:at] + directory + end)
    with pytest.raises(Refused, match="taken for a trap"), opened(path, Limits()):
        pass


def test_the_directory_of_an_archive_of_more_than_four_gigabytes_is_found(tmp_path):
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for n in range(66_000):
            archive.writestr(f"{n}", b"")
    with opened(path, Limits(entries=100_000)) as (_, infos):
        assert len(infos) == 66_000
    with pytest.raises(Refused, match="66000 entries"), opened(path, Limits()):
        pass
