"""The schema: made by migrations, equal to what the code believes, safe to make by several at once."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from gateway.database import metadata, migrate, open_engine


def migrated(path) -> sa.Engine:
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    return engine


def differences(engine: sa.Engine) -> list:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, metadata)
    engine.dispose()
    return found


def test_migrations_make_exactly_the_tables_that_the_code_uses(tmp_path):
    assert differences(migrated(tmp_path / "a.db")) == []


def test_migrating_again_changes_nothing_and_keeps_the_rows(tmp_path):
    engine = migrated(tmp_path / "a.db")
    with engine.begin() as connection:
        connection.execute(metadata.tables["task"].insert(), {"id": "t", "doc": "{}"})
    engine.dispose()
    engine = migrated(tmp_path / "a.db")
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT id FROM task")).all() == [("t",)]
    assert differences(engine) == []


def test_four_threads_may_migrate_at_once(tmp_path):
    with ThreadPoolExecutor(4) as threads:
        for engine in threads.map(migrated, [tmp_path / "a.db"] * 4):
            engine.dispose()
    assert differences(migrated(tmp_path / "a.db")) == []


def test_two_processes_may_migrate_at_once(tmp_path):
    code = "import sys; from gateway.database import *; migrate(open_engine('sqlite:///' + sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path / "a.db")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert differences(migrated(tmp_path / "a.db")) == []


def test_what_is_committed_is_synced_and_readers_do_not_block_the_writer(tmp_path):
    engine, readers = migrated(tmp_path / "a.db"), open_engine(f"sqlite:///{tmp_path / 'a.db'}", writes=False)
    with readers.connect() as reading:
        assert reading.execute(sa.text("SELECT count(*) FROM task")).scalar() == 0
        with engine.begin() as writing:
            assert writing.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
            assert writing.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            writing.execute(metadata.tables["task"].insert(), {"id": "t", "doc": "{}"})
        assert reading.execute(sa.text("SELECT count(*) FROM task")).scalar() == 0  # its snapshot
    readers.dispose()
    engine.dispose()
