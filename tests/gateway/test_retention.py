"""Retention: the oldest files of ended jobs go, nothing else does, and a crash at any point is made good."""

import contextlib
import hashlib
import os
import time
from pathlib import Path

import pytest

from contracts.models import State
from gateway.retention.rules import Keep, archived_job, scratch_job
from gateway.retention.sweep import Retention
from tests.gateway.test_file_sender import deliver, output, processed
from tests.support import stories as s
from tests.support.waiting import eventually

DAY = 86_400


def retention(house, jobs=None, **keep) -> Retention:
    return Retention(jobs or house.jobs, house.files, Keep(**keep), house.clock)


async def complete(house, name: str, size: int = 1000):
    """A job whose image and result lie in the archive, with a preview."""
    house.clock.turn(1)
    result = output(house, f"{name}-result.tiff", bytes(size))
    await processed(house, result, job_id=name, name=f"{name}.tiff", content=bytes(size))
    job = await deliver(house, name)
    picture = Path(job.input_file.archive_name).with_suffix(".jpeg")
    picture.write_bytes(b"a picture")
    fact = s.previewed(name).model_copy(update={"viewables": {job.input_file.archive_name: str(picture)}})
    await house.store.apply([fact])
    return await house.store.get(name)


def kept(house) -> set[str]:
    """The jobs of which anything lies in the archive."""
    return {archived_job(name) for name in os.listdir(house.files.archive)}


async def test_files_older_than_so_many_days_go_with_their_previews_and_the_jobs_stay(house):
    old = await complete(house, "old")
    house.clock.turn(5 * DAY)
    await complete(house, "young")
    house.clock.turn(5 * DAY)
    sweep = retention(house, days=7)

    said = await sweep.sweep(dry_run=True)
    assert (said.jobs, said.files, said.bytes, kept(house)) == (1, 3, 2009, {"old", "young"})
    done = await sweep.sweep()
    assert (done.jobs, done.files, done.bytes, kept(house)) == (1, 3, 2009, {"young"})
    job = await house.store.get("old")
    assert (job.state, job.files, job.input_file) == (State.COMPLETE, "removed", old.input_file)
    lines = [(line["What"], line["Why"]) for line in await house.store.history("old")][-2:]
    assert lines == [
        ("files-expired", "archived files are being removed by retention"),
        ("files-removed", "archived files removed by retention"),
    ]
    assert (await sweep.sweep()).jobs == 0


async def test_asking_for_removed_files_is_answered_with_words(house):
    await complete(house, "a")
    house.clock.turn(2 * DAY)
    await retention(house, days=1).sweep()
    for method, path in (("GET", "/transmitFile/a/0"), ("POST", "/reject/a")):
        answer = await house.call(house.sender, method, f"/api/v1{path}")
        assert (answer.status_code, "removed by retention" in answer.text) == (410, True)
    listed = await house.call(house.jobs, "GET", "/api/v1/job")
    assert [job["Files"] for job in listed.json()] == ["removed"]


async def test_the_oldest_go_until_there_is_room_enough(house):
    for name in ("a", "b", "c", "d"):
        await complete(house, name)
    said = await retention(house, most_bytes=4500).sweep(dry_run=True)
    done = await retention(house, most_bytes=4500).sweep()
    assert (said.jobs, said.bytes) == (done.jobs, done.bytes) == (2, 4018)
    assert kept(house) == {"c", "d"}


async def test_both_rules_hold_together_and_are_foretold(house):
    for name in ("a", "b", "c"):
        await complete(house, name)
        house.clock.turn(DAY)
    keep = {"days": 2.5, "most_bytes": 2500}
    said = await retention(house, **keep).sweep(dry_run=True)
    done = await retention(house, **keep).sweep()
    assert (said.jobs, said.bytes) == (done.jobs, done.bytes) == (2, 4018)
    assert kept(house) == {"c"}


async def test_files_of_failed_jobs_go_only_if_that_is_wanted_and_those_of_quarantined_ones_never(house):
    for name in ("failed", "unwanted", "poison", "waiting"):
        (house.files.input / f"{name}.tiff").write_bytes(b"in")
        await house.store.apply([s.created(name, f"{name}.tiff"), s.input_delivered(name, str(house.files.input))])
    await house.store.apply([
        s.unmatched("unwanted"),
        *s.full_story("failed")[3:6], s.confirmed("failed", missing="o.tiff"),
        *[s.failed_step(State.RECEIVED, "poison", retry_at=n + 1) for n in range(5)],
    ])  # fmt: skip
    house.clock.turn(100 * DAY)
    assert (await house.store.get("poison")).state is State.QUARANTINED
    assert (await retention(house, days=1).sweep()).jobs == 0
    assert (await retention(house, days=1, failed_days=30).sweep()).jobs == 2
    assert {path.name for path in house.files.input.iterdir()} == {"poison.tiff", "waiting.tiff"}


async def test_a_failed_job_that_is_released_later_gets_its_image_from_the_instrument(house):
    (house.files.input / "a.tiff").write_bytes(b"in")
    await house.store.apply([s.created(), s.input_delivered(folder=str(house.files.input)), *s.full_story()[3:6]])
    await house.store.apply([s.confirmed(missing="o.tiff")])
    house.clock.turn(2 * DAY)
    await retention(house, failed_days=1).sweep()
    await house.store.apply([s.released()])
    job = await house.one()
    assert (job.state, job.input_file.hostname, job.files) == (State.SENDING, "oem", "")
    assert (await retention(house, failed_days=1).sweep()).jobs == 0


async def test_what_a_job_on_its_way_needs_is_spared_whoever_else_names_it(house):
    (house.files.input / "a.tiff").write_bytes(b"in")
    for name in ("ended", "open"):
        await house.store.apply([s.created(name), s.input_delivered(name, str(house.files.input))])
    await house.store.apply([s.unmatched("ended")])
    house.clock.turn(2 * DAY)
    done = await retention(house, failed_days=1).sweep()
    assert (done.jobs, done.files) == (1, 0)
    assert (house.files.input / "a.tiff").exists()


async def test_a_path_that_a_client_wrote_into_a_job_is_not_followed(house, tmp_path):
    job = await complete(house, "a")
    precious = tmp_path / f"precious_archive_{job.id}_1_input.tiff"
    precious.write_bytes(b"not ours")
    other = await complete(house, "b")
    for path in (str(precious), other.input_file.archive_name):
        await house.call(house.jobs, "PUT", "/api/v1/job/a", json={"InputFile.ArchiveName": path})
        house.clock.turn(2 * DAY)
        await house.store.change("b", lambda job: job.evolve(created=house.clock()), "test", "made younger")
        await retention(house, days=1).sweep()
        assert precious.exists()
        assert "b" in kept(house)


async def test_a_rejected_copy_goes_with_its_job_and_one_that_is_not_its_own_stays(house):
    await complete(house, "a")
    await house.call(house.jobs, "PUT", "/api/v1/job/a", json={"Verification": 2})
    await house.call(house.sender, "POST", "/api/v1/reject/a")
    (copy,) = (path for path in house.files.reject.rglob("*") if path.is_file())
    house.clock.turn(2 * DAY)
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    job = await house.store.get("a")
    assert job.input_file.sha256 != digest  # the story's digest is made up: the copy is not known to be the job's
    assert (await retention(house, days=1).sweep(dry_run=True)).files == 3
    await house.store.change("a", lambda j: j.evolve(input_file=j.input_file.evolve(sha256=digest)), "test", "mend")
    assert (await retention(house, days=1).sweep()).files == 4
    assert not copy.parent.exists()


async def test_strangers_are_named_and_left_alone(house):
    await complete(house, "a")
    await complete(house, "forgotten")
    await house.store.delete("forgotten")
    (house.files.archive / "holiday.tiff").write_bytes(b"mine")
    house.clock.turn(100 * DAY)
    swept = await retention(house, days=1).sweep(dry_run=True)
    mine = {path.name for path in house.files.archive.iterdir() if "_archive_forgotten_" in path.name}
    assert set(swept.strangers) == mine | {"holiday.tiff"}
    await retention(house, days=1).sweep()
    assert {path.name for path in house.files.archive.iterdir()} == mine | {"holiday.tiff"}


async def test_our_own_leftovers_go_when_they_are_a_day_old_and_their_job_has_ended(house):
    house.clock.now = time.time_ns()
    await complete(house, "ended")
    await house.store.apply(s.full_story("open")[:4])
    old = time.time() - 2 * DAY
    mine = {
        "scratch": house.files.output / ".ended~1.part",
        "nobody": house.files.output / "deep" / ".unknown~3.part",
        "open": house.files.output / ".open~1.part",
        "young": house.files.output / ".ended~2.part",
    }
    for folder in mine.values():
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(b"x")
    part = house.files.reject / "nuclei" / ".a.tiff.part"
    copy = house.files.archive / f".{'0f' * 16}.tmp"
    fine = house.files.output / "report.part.csv"
    upload = house.files.input / ".uploads" / ".b.part"
    for file in (part, copy, fine, upload):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    for path in (*mine.values(), part, copy, fine, upload):
        if path is not mine["young"]:
            os.utime(path, (old, old))
    await retention(house).sweep(dry_run=True)
    assert part.exists()
    swept = await retention(house).sweep()
    gone = {mine["scratch"], mine["nobody"], part, copy}
    assert {Path(name) for name in swept.debris} == gone
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in (mine["open"], mine["young"], fine, upload))


async def test_scratch_that_a_power_cut_brought_back_goes_at_the_start_if_its_job_has_ended(house):
    house.clock.now = time.time_ns()
    await complete(house, "ended")
    await house.store.apply(s.full_story("open")[:4])
    folders = {name: house.files.output / f".{name}~1.part" for name in ("ended", "open", "unknown")}
    young = house.files.output / ".ended~2.part"
    for folder in (*folders.values(), young):
        folder.mkdir()
        (folder / "half").write_bytes(b"x")
    before, after = house.clock.now / 1e9 - 5, house.clock.now / 1e9 + 5
    for folder in folders.values():
        os.utime(folder, (before, before))
    os.utime(young, (after, after))
    async with retention(house).running():
        await eventually(lambda: not folders["ended"].exists())
    assert all(folder.is_dir() for folder in (folders["open"], folders["unknown"], young))


class Cut(BaseException):
    """The power is gone: nothing catches it."""


class Fuse:
    """Cuts the n-th call, before or after it has done its work."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.left, self._after = at, after

    def burn(self, *, done: bool) -> None:
        self.left -= not done
        if self.left == 0 and done == self._after:
            self.left = -1
            raise Cut

    @property
    def blown(self) -> bool:
        return self.left < 0


class Cuttable:
    """The job repository behind a fuse."""

    def __init__(self, jobs, fuse: Fuse) -> None:
        self._jobs, self._fuse = jobs, fuse

    def __getattr__(self, name):
        return getattr(self._jobs, name)

    async def report(self, facts):
        self._fuse.burn(done=False)
        verdicts = await self._jobs.report(facts)
        self._fuse.burn(done=True)
        return verdicts


async def cut_sweep(house, monkeypatch, fuse: Fuse) -> None:
    unlink = Path.unlink

    def unlinked(path: Path, **more) -> None:
        fuse.burn(done=False)
        unlink(path, **more)
        fuse.burn(done=True)

    with monkeypatch.context() as patch, contextlib.suppress(Cut):
        patch.setattr(Path, "unlink", unlinked)
        await retention(house, jobs=Cuttable(house.jobs, fuse), days=1).sweep()


@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_at_any_step_is_made_good_by_the_next_sweep(house, monkeypatch, after):
    fuse, cuts = Fuse(1, after=after), 0
    while True:
        names = {f"a{cuts}", f"b{cuts}"}
        for name in names:
            await complete(house, name)
        house.clock.turn(2 * DAY)
        await cut_sweep(house, monkeypatch, fuse)
        # Whatever lies here still is said to be here, or to be going.
        lying = [(await house.store.get(name)).files for name in names & kept(house)]
        assert set(lying) <= {"", "removing"}
        await retention(house, days=1).sweep()
        assert kept(house) & names == set()
        assert [(await house.store.get(name)).files for name in names] == ["removed"] * 2
        if not fuse.blown:
            break
        cuts += 1
        fuse = Fuse(cuts + 1, after=after)
    assert cuts == 8  # two reports, six files


async def test_a_release_and_a_sweep_at_once_never_take_a_file_that_is_needed(house):
    (house.files.input / "a.tiff").write_bytes(b"in")
    await house.store.apply([s.created(), s.input_delivered(folder=str(house.files.input)), *s.full_story()[3:6]])
    await house.store.apply([s.confirmed(missing="o.tiff")])
    house.clock.turn(2 * DAY)
    real = house.jobs.report

    class Racing:
        """Releases the job between the sweep's look and its first word."""

        def __getattr__(self, name):
            return getattr(house.jobs, name)

        async def report(self, facts):
            if facts[0].kind == "files-expired":
                await real([s.released()])
            return await real(facts)

    await retention(house, jobs=Racing(), failed_days=1).sweep()
    assert (await house.one()).state is State.RECEIVED
    assert (house.files.input / "a.tiff").exists()


async def test_the_service_sweeps_at_its_start_and_on_request(house):
    await complete(house, "a")
    house.clock.turn(2 * DAY)
    house.sender.retention._keep = Keep(days=1)  # noqa: SLF001
    answer = await house.call(house.sender, "POST", "/api/v1/archive/sweep?dry_run=true")
    assert (answer.status_code, answer.json()["Jobs"], answer.json()["Files"]) == (200, 1, 3)
    assert kept(house) == {"a"}
    answer = await house.call(house.sender, "POST", "/api/v1/archive/sweep")
    assert (answer.json()["Jobs"], kept(house)) == (1, set())


def test_names_that_are_not_ours_are_of_no_job():
    assert scratch_job(".job-1~3.part") == "job-1"
    assert scratch_job("job-1~3.part") == scratch_job(".job-1.part") == ""
    assert archived_job("a_archive_job-1_123_input.ome.tiff") == "job-1"
    assert archived_job("a_archive_b_archive_job-1_123_output") == "job-1"
    assert archived_job("holiday.tiff") == archived_job("a_archive_job_1_other.tif") == ""
