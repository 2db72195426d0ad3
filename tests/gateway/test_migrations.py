"""The schema: made by migrations, equal to what the code believes, safe to make by several at once."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import gateway.identity.tables  # noqa: F401 - they are part of the schema
from contracts.models import State
from contracts.ports import JobQuery
from gateway.database import migrate, newest, open_engine, revisions, upgrade
from gateway.job_repository.listing import listing
from gateway.job_repository.rows import row_of
from gateway.tables import metadata
from tests.support import postgres
from tests.support import stories as s
from tests.support.stories import told


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'a.db'}"
        return
    made = postgres.shared().database()
    yield made
    postgres.shared().drop(made)


def migrated(url: str) -> sa.Engine:
    engine = open_engine(url)
    migrate(engine)
    return engine


def _is_common(name: str | None, kind: str, _parents: object) -> bool:
    """Some searches each database has its own indexes for."""
    return kind != "index" or name not in (
        "job_names",
        "job_of_host",
        "job_of_pipeline_in_state",
        "job_of_task_in_state",
    )


def differences(engine: sa.Engine) -> list:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": _is_common})
        found = compare_metadata(context, metadata)
    engine.dispose()
    return found


def test_migrations_make_exactly_the_tables_that_the_code_uses(url):
    assert differences(migrated(url)) == []


def test_migrating_again_changes_nothing_and_keeps_the_rows(url):
    engine = migrated(url)
    with engine.begin() as connection:
        connection.execute(metadata.tables["task"].insert(), {"id": "t", "doc": "{}"})
    engine.dispose()
    engine = migrated(url)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT id FROM task")).all() == [("t",)]
    assert differences(engine) == []


def test_the_newest_revision_is_the_one_that_begins_no_other():
    assert newest() == max(revisions())


def test_what_is_of_the_newest_schema_starts_without_alembic(url):
    migrated(url).dispose()
    code = "import sys; from gateway.database import *; migrate(open_engine(sys.argv[1]))"
    code += "; assert 'alembic' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_older_schema_is_brought_to_the_newest(url):
    engine = open_engine(url)
    with engine.begin() as connection:
        upgrade(connection, "0006")
    engine.dispose()
    assert differences(migrated(url)) == []


def test_outputs_that_wait_when_the_schema_is_upgraded_belong_to_their_jobs(url):
    engine = open_engine(url)
    waiting = told(s.full_story("waiting")[:7])
    done = told(s.full_story("done"))
    with engine.begin() as connection:
        upgrade(connection, "0006")
        then = sa.Table("job", sa.MetaData(), autoload_with=connection)
        for job in (done, waiting):
            row = {name: value for name, value in row_of(job).items() if name in then.columns}
            connection.execute(then.insert(), row)
        upgrade(connection, "head")
        assert connection.execute(sa.text("SELECT place, job FROM placed")).all() == [("/out/o.tiff", "waiting")]
    engine.dispose()


def test_four_threads_may_migrate_at_once(url):
    with ThreadPoolExecutor(4) as threads:
        for engine in threads.map(migrated, [url] * 4):
            engine.dispose()
    assert differences(migrated(url)) == []


def test_two_processes_may_migrate_at_once(url):
    code = "import sys; from gateway.database import *; migrate(open_engine(sys.argv[1]))"
    command = [sys.executable, "-c", code, url]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert differences(migrated(url)) == []


def test_what_is_committed_is_synced_and_readers_do_not_block_the_writer(tmp_path):
    engine, readers = (
        migrated(f"sqlite:///{tmp_path / 'a.db'}"),
        open_engine(f"sqlite:///{tmp_path / 'a.db'}", writes=False),
    )
    with readers.connect() as reading:
        assert reading.execute(sa.text("SELECT count(*) FROM task")).scalar() == 0
        with engine.begin() as writing:
            assert writing.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
            assert writing.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            writing.execute(metadata.tables["task"].insert(), {"id": "t", "doc": "{}"})
        assert reading.execute(sa.text("SELECT count(*) FROM task")).scalar() == 0  # its snapshot
    readers.dispose()
    engine.dispose()


def test_names_are_searched_by_an_index_on_both(url):
    engine = migrated(url)
    with engine.connect() as connection:
        assert "job_names" in {index["name"] for index in sa.inspect(connection).get_indexes("job")}
    engine.dispose()


def test_sqlite_looks_for_no_page_by_sorting_or_by_reading_everything(tmp_path):
    """Each listing that users ask for goes along an index in its order."""
    engine = migrated(f"sqlite:///{tmp_path / 'a.db'}")
    asked = [
        {},
        {"after": 7},
        {"states": (State.COMPLETE,)},
        {"origin_host": "h"},
        {"origin_host": "h", "states": (State.COMPLETE,)},
        {"pipeline": "p"},
        {"pipeline": "p", "states": (State.FAILED,)},
        {"task": "t"},
        {"task": "t", "states": (State.FAILED,)},
        {"owner": "o"},
        {"status": "s"},
        {"name_contains": "n"},
        {"wants_preview": True},
        {"batch": "b"},
        {"batch": "b", "newest_first": False, "after": 7},
    ]
    with engine.connect() as connection:
        for fields in asked:
            query = listing(JobQuery(**fields), "sqlite").compile(engine, compile_kwargs={"literal_binds": True})
            plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
            assert not any("TEMP B-TREE" in step for step in plan), (fields, plan)
            assert fields in ({}, {"wants_preview": True}) or "SCAN job" not in plan, (fields, plan)
    engine.dispose()


def test_a_postgresql_without_the_extension_is_migrated_all_the_same(caplog):
    """A user that may not make extensions searches names without an index."""
    url, server = postgres.shared().database(), postgres.shared()
    name = url.rpartition("/")[2]
    server.execute("CREATE ROLE modest LOGIN PASSWORD 'test'")
    try:
        server.execute(f"REVOKE CREATE ON DATABASE {name} FROM PUBLIC")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("GRANT CREATE, USAGE ON SCHEMA public TO modest")
        engine = migrated(url.replace("cytobus:", "modest:"))
        assert differences(engine) == []
        assert "pg_trgm" in caplog.text
    finally:
        server.drop(url)
        server.execute("DROP ROLE modest")
