"""Backups: one moment of a database that is in use, restored into either kind, or refused with a reason."""

import asyncio
import json
import zipfile

import pytest
import sqlalchemy as sa

from contracts.errors import BadRequest, Conflict
from contracts.ports import JobQuery
from gateway import backup as b
from gateway.database import migrate, open_engine, upgrade
from gateway.job_repository.store import JobStore
from gateway.tables import metadata
from tests.support import postgres
from tests.support import stories as s
from tests.support.house import connected, opened

KINDS = ["sqlite", "postgresql"]


@pytest.fixture
def empty(tmp_path):
    """Makes URLs of empty databases of a kind."""
    made = []

    def url(kind: str, name: str = "other") -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / name}.db"
        made.append(postgres.shared().database())
        return made[-1]

    yield url
    for one in made:
        postgres.shared().drop(one)


def content(url: str) -> dict[str, list]:
    """Every row of every table but the note of the restore."""
    engine = open_engine(url, writes=False)
    try:
        with engine.connect() as connection:
            return {
                name: [tuple(row) for row in connection.execute(sa.select(t).order_by(*t.primary_key.columns))]
                for name, t in metadata.tables.items()
                if name != "note"
            }
    finally:
        engine.dispose()


async def filled(database) -> JobStore:
    store = JobStore(database.writer, database.readers, database.clock)
    for name in ("a", "zwei\u2028ü", "c"):
        await store.apply(s.full_story(name))
    await store.apply(s.full_story("open")[:4])
    await database.writer.run(lambda tx: tx.execute(metadata.tables["task"].insert(), {"id": "t", "doc": "{}"}))
    return store


@pytest.mark.parametrize("target", KINDS)
async def test_a_backup_is_restored_row_for_row_also_into_the_other_kind(database, tmp_path, empty, target):
    await filled(database)
    file = tmp_path / "backup.zip"
    manifest = await asyncio.to_thread(b.backup, database.url, file)
    assert (manifest.tables["job"].rows, manifest.tables["task"].rows) == (4, 1)
    url = empty(target)
    await asyncio.to_thread(b.restore, url, file)
    assert content(url) == content(database.url)
    async with connected(url, database.clock) as other:
        store = JobStore(other.writer, other.readers, other.clock)
        await store.apply([s.created("new")])  # sequences go on behind what was restored
        assert [job.id for job in (await store.find(JobQuery(limit=1))).jobs] == ["new"]
        assert await store.epoch() != ""


async def test_a_backup_is_of_one_moment_while_jobs_go_on(database, tmp_path, empty):
    store = await filled(database)
    stop = asyncio.Event()
    told = 0

    async def busy() -> None:
        nonlocal told
        while not stop.is_set():
            await store.apply([s.created(f"busy-{told}")])
            told += 1

    working = asyncio.create_task(busy())
    for turn in range(5):
        before = told
        manifest = await asyncio.to_thread(b.backup, database.url, tmp_path / f"{turn}.zip")
        assert manifest.tables["job"].rows >= 4 + before
        with zipfile.ZipFile(tmp_path / f"{turn}.zip") as archive:
            jobs = {json.loads(line)["id"] for line in archive.open("job.jsonl")}
            history = {json.loads(line)["job_id"] for line in archive.open("history.jsonl")}
        assert jobs == history  # a job and its history are written in one transaction
    stop.set()
    await working
    assert told > 0


async def test_a_database_with_jobs_is_only_overwritten_by_force(database, tmp_path):
    store = await filled(database)
    file = tmp_path / "backup.zip"
    await asyncio.to_thread(b.backup, database.url, file)
    await store.apply([s.created("later")])
    with pytest.raises(Conflict, match=r"rows in .*--force"):
        await asyncio.to_thread(b.restore, database.url, file)
    assert (await store.get("later")).id == "later"
    await asyncio.to_thread(b.restore, database.url, file, force=True)
    async with connected(database.url) as again:
        jobs = (await JobStore(again.writer, again.readers, again.clock).find(JobQuery())).jobs
    assert "later" not in {job.id for job in jobs}
    assert len(jobs) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_backup_of_an_older_schema_is_migrated(tmp_path, empty, kind):
    old, new = empty(kind, "old"), empty(kind, "new")
    engine = open_engine(old)
    with engine.begin() as connection:
        upgrade(connection, "0003")
        connection.execute(
            sa.text(
                "INSERT INTO job (id, state, owner, status, origin_host, origin_dir, name, sha256, pipeline, task,"
                " lease_holder, lease_until, not_before, wants_preview, last_updated, doc) VALUES"
                " ('j', 'complete', '', '', '', '', 'n', '', '', '', '', 0, 0, false, 7, '{}')"
            )
        )
    engine.dispose()
    manifest = b.backup(old, tmp_path / "old.zip")
    assert manifest.schema_revision == "0003"
    b.restore(new, tmp_path / "old.zip")
    (row,) = content(new)["job"]
    found = dict(zip(metadata.tables["job"].columns.keys(), row, strict=True))
    assert (found["id"], found["kept_since"]) == ("j", 7)


async def test_a_newer_schema_and_a_newer_format_are_refused(tmp_path, empty):
    async with opened(tmp_path / "a.db") as database:
        await filled(database)
        b.backup(database.url, tmp_path / "good.zip")
    for change, words in (({"schema_revision": "9999"}, "schema 9999"), ({"format": 9}, "format 9")):
        with zipfile.ZipFile(tmp_path / "good.zip") as good, zipfile.ZipFile(tmp_path / "new.zip", "w") as changed:
            for name in good.namelist():
                data = good.read(name)
                if name == b.MANIFEST:
                    data = json.dumps(json.loads(data) | change).encode()
                changed.writestr(name, data)
        url = empty("sqlite")
        with pytest.raises(Conflict, match=words):
            b.restore(url, tmp_path / "new.zip")


async def test_each_damaged_byte_is_found_and_nothing_is_changed(tmp_path, empty):
    async with opened(tmp_path / "a.db") as database:
        await filled(database)
        b.backup(database.url, tmp_path / "good.zip")
    good = (tmp_path / "good.zip").read_bytes()
    url = empty("sqlite")
    refused = 0
    for place in range(0, len(good), len(good) // 60):
        (tmp_path / "bad.zip").write_bytes(good[:place] + bytes([good[place] ^ 0x40]) + good[place + 1 :])
        try:
            b.restore(url, tmp_path / "bad.zip", force=True)
        except (BadRequest, Conflict):
            refused += 1
        else:  # a byte that says nothing, such as a date in the directory
            assert content(url) == content(database.url)
    assert refused > 30
    for damaged in (b"", good[: len(good) // 2], b"no zip at all"):
        (tmp_path / "bad.zip").write_bytes(damaged)
        with pytest.raises(BadRequest, match=r"bad\.zip"):
            b.restore(url, tmp_path / "bad.zip", force=True)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_restore_that_breaks_half_way_leaves_the_database_as_it_was(tmp_path, empty, kind, monkeypatch):
    async with opened(tmp_path / "a.db", dialect=kind) as database:
        await filled(database)
        b.backup(database.url, tmp_path / "good.zip")
        before = content(database.url)

        def cut(connection: object) -> None:
            raise RuntimeError("cut")

        monkeypatch.setattr(b, "_marked", cut)
        with pytest.raises(RuntimeError, match="cut"):
            b.restore(database.url, tmp_path / "good.zip", force=True)
        assert content(database.url) == before


def test_a_database_without_our_tables_gives_no_backup(tmp_path):
    with pytest.raises(Conflict, match="nothing was written"):
        b.backup(f"sqlite:///{tmp_path / 'none.db'}", tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_a_backup_replaces_an_older_file_only_when_it_is_whole(tmp_path):
    url = f"sqlite:///{tmp_path / 'a.db'}"
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    (tmp_path / "b.zip").write_text("an older one")
    b.backup(url, tmp_path / "b.zip")
    assert zipfile.is_zipfile(tmp_path / "b.zip")
