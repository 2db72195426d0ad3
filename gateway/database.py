"""The gateway's tables, and how an engine for them is opened."""

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import event

metadata = sa.MetaData()

BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")

job = sa.Table(
    "job",
    metadata,
    sa.Column("seq", BigId, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("origin_host", sa.Text, nullable=False),
    sa.Column("origin_dir", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("pipeline", sa.Text, nullable=False),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("lease_holder", sa.Text, nullable=False),
    sa.Column("lease_until", sa.BigInteger, nullable=False),
    sa.Column("not_before", sa.BigInteger, nullable=False),
    sa.Column("wants_preview", sa.Boolean, nullable=False),
    sa.Column("last_updated", sa.BigInteger, nullable=False),
    sa.Column("doc", sa.Text, nullable=False),
    sa.Index("job_by_state", "state", "seq"),
    sa.Index("job_by_location", "origin_host", "origin_dir", "name"),
    sa.Index("job_by_owner", "owner", "seq"),
    sa.Index("job_by_host", "origin_host", "state", "seq"),
    sa.Index("job_by_update", "last_updated"),
    sqlite_autoincrement=True,  # a cursor must not come to mean another job when the newest is deleted
)

history = sa.Table(
    "history",
    metadata,
    sa.Column("seq", BigId, primary_key=True, autoincrement=True),
    sa.Column("job_id", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("from_state", sa.Text, nullable=False),
    sa.Column("to_state", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Index("history_by_job", "job_id", "seq"),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("seq", BigId, primary_key=True, autoincrement=True),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
)

task = sa.Table(
    "task",
    metadata,
    sa.Column("seq", BigId, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("doc", sa.Text, nullable=False),
)

pipeline = sa.Table(
    "pipeline",
    metadata,
    sa.Column("topic", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("last_seen", sa.BigInteger, nullable=False),
)


def open_engine(url: str, *, writes: bool = True) -> sa.Engine:
    """An engine whose transactions are safe by what is set here, not by defaults.

    SQLite: write-ahead log, every commit synced to disk, writers queue (``BEGIN IMMEDIATE``) instead of
    failing half-way; readers (``writes=False``) see a snapshot and never block a writer.
    """
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url, connect_args={"timeout": 30.0, "check_same_thread": False})
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: object) -> None:
        _prepare(connection)

    @event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _prepare(connection: sqlite3.Connection) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")


def migrate(engine: sa.Engine) -> None:
    """Bring the schema to the newest revision; safe when two services start at once.

    The revision is read and the steps are taken in one transaction that other writers wait for.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7318349394477056)"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
