"""A snapshot of the gateway's database as one portable file: JSON lines by table, with counts and digests."""

import contextlib
import hashlib
import json
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

import gateway.identity.tables  # noqa: F401 - they are part of the schema
from contracts.disk import place, room_at
from contracts.errors import BadRequest, Conflict
from contracts.zips import DAMAGE
from gateway import database as db
from gateway import tables
from gateway.identity.surviving import Reapplied, known, reapply

FORMAT = 1
MANIFEST = "manifest.json"
EARLY = ("pipeline", "note", "account", "word", "enrolment", "audit", "edge_status")
"""Tables that hold something as soon as a gateway runs: its runners, its administrators."""
ROWS = 1000
"""Rows that are read or written together."""


class Part(BaseModel):
    """What a table's file must hold."""

    model_config = ConfigDict(frozen=True)

    rows: int
    sha256: str


class Manifest(BaseModel):
    """What a backup is of. ``schema_revision`` is that of its tables."""

    model_config = ConfigDict(frozen=True)

    format: int
    schema_revision: str
    made_at: str
    made_by: str
    tables: dict[str, Part]


def backup(url: str, target: Path) -> Manifest:
    """Write everything that the database holds at one moment to ``target``; services may go on meanwhile.

    The file appears whole or not at all. Raises ``Conflict`` for a database without our tables, ``Full``, ``OSError``.
    """
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    engine = db.open_engine(url, writes=False)
    try:
        with room_at(target), _snapshot(engine) as connection:
            temporary.touch(0o600)  # who may come in stands in it too
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
                manifest = _packed(connection, archive)
            place(temporary, target)
        return manifest
    finally:
        engine.dispose()
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction that sees one moment, however long it takes. SQLite's readers do so anyway."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield connection


def _packed(connection: sa.Connection, archive: zipfile.ZipFile) -> Manifest:
    revision = _revision(connection)
    if not revision:
        raise Conflict(f"{connection.engine.url.render_as_string()} holds no gateway's tables: nothing was written")
    parts = {}
    for table in _tables(connection):
        with archive.open(_file_of(table.name), "w", force_zip64=True) as file:
            parts[table.name] = _written(connection, table, file)
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = Manifest(
        format=FORMAT, schema_revision=revision, made_at=made_at, made_by=f"cytobus {version('cytobus')}", tables=parts
    )
    archive.writestr(MANIFEST, manifest.model_dump_json(indent=1))
    return manifest


def _file_of(table: str) -> str:
    return f"{table}.jsonl"


def _revision(connection: sa.Connection) -> str:
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() or "")


def _tables(connection: sa.Connection) -> list[sa.Table]:
    """Our tables as they are there, whatever their revision."""
    present = set(sa.inspect(connection).get_table_names())
    found = sa.MetaData()
    found.reflect(connection, only=sorted(present & set(tables.metadata.tables)), resolve_fks=False)
    return sorted(found.tables.values(), key=lambda table: table.name)


def _written(connection: sa.Connection, table: sa.Table, file: IO[bytes]) -> Part:
    digest, count = hashlib.sha256(), 0
    query = sa.select(table).order_by(*table.primary_key.columns)
    with connection.execution_options(stream_results=True, yield_per=ROWS).execute(query) as rows:
        for some in rows.mappings().partitions(ROWS):
            block = b"".join(json.dumps(dict(row)).encode() + b"\n" for row in some)
            digest.update(block)
            file.write(block)
            count += len(some)
    return Part(rows=count, sha256=digest.hexdigest())


def restore(url: str, source: Path, *, force: bool = False) -> tuple[Manifest, Reapplied]:
    """Make the database what the backup says, in one transaction, at the newest schema. No service may be using it.
    Only who may come in stays as the replaced database knew it, if it knew anybody.

    Raises ``BadRequest`` for a file that is damaged or no backup, ``Conflict`` for one of a newer schema and for a
    database that is not empty (unless ``force``).
    """
    with _opened(source) as archive:
        manifest = _verified(archive, source)
        engine = db.open_engine(url)
        try:
            with engine.begin() as connection:
                _without_limits(connection)
                _check_target(connection, manifest, source, force)
                before = known(connection)
                _emptied(connection)
                db.upgrade(connection, manifest.schema_revision)
                for table in _tables(connection):
                    if table.name in manifest.tables:
                        _filled(connection, table, archive)
                db.upgrade(connection, "head")
                reapplied = reapply(connection, before)
                _marked(connection)
        finally:
            engine.dispose()
    db.sync_names(url)
    return manifest, reapplied


@contextlib.contextmanager
def _undamaged(source: Path) -> Iterator[None]:
    try:
        yield
    except (*DAMAGE, KeyError) as error:
        words = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadRequest(f"{source} is damaged or no backup of cytobus ({words}); nothing was changed") from None


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[zipfile.ZipFile]:
    with _undamaged(source):
        archive = zipfile.ZipFile(source)
    with archive:
        yield archive


def _verified(archive: zipfile.ZipFile, source: Path) -> Manifest:
    """The manifest of a backup whose files are all there and as they were written."""
    with _undamaged(source):
        manifest = Manifest.model_validate_json(archive.read(MANIFEST))
    if manifest.format > FORMAT:
        raise Conflict(f"{source} has format {manifest.format}, this cytobus reads up to {FORMAT}: install a newer one")
    for table, part in manifest.tables.items():
        with _undamaged(source):
            found = _looked_through(archive, table)
        if found != part:
            raise BadRequest(f"{source}: {_file_of(table)} is not what was written; use another backup")
    return manifest


def _looked_through(archive: zipfile.ZipFile, table: str) -> Part:
    digest, lines = hashlib.sha256(), 0
    with archive.open(_file_of(table)) as file:
        while block := file.read(2**20):
            digest.update(block)
            lines += block.count(b"\n")
    return Part(rows=lines, sha256=digest.hexdigest())


def _without_limits(connection: sa.Connection) -> None:
    """A restore takes its time; but it waits ten seconds at most for services that should not be running."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def _check_target(connection: sa.Connection, manifest: Manifest, source: Path, force: bool) -> None:
    if manifest.schema_revision not in db.revisions():
        raise Conflict(
            f"{source} is of schema {manifest.schema_revision}, which this cytobus does not know: install a newer one"
        )
    if force:
        return
    for table in _tables(connection):
        if table.name in EARLY:
            continue
        rows = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar()
        if rows:
            raise Conflict(
                f"{connection.engine.url.render_as_string()} holds {rows} rows in {table.name}: restore into an empty"
                " database, or give --force to lose them"
            )


def _emptied(connection: sa.Connection) -> None:
    """None of our tables is there any more."""
    for table in _tables(connection):
        table.drop(connection)
    connection.execute(sa.text("DROP TABLE IF EXISTS alembic_version"))


def _filled(connection: sa.Connection, table: sa.Table, archive: zipfile.ZipFile) -> None:
    connection.execute(table.delete())  # what a migration has put there is in the backup too
    with archive.open(_file_of(table.name)) as file:
        for some in _batches(file):
            connection.execute(table.insert(), some)
    key = table.primary_key.columns.values()
    if connection.dialect.name == "postgresql" and [column.name for column in key] == ["seq"]:
        last = f"SELECT setval(pg_get_serial_sequence('{table.name}', 'seq'), coalesce(max(seq), 0) + 1, false)"
        connection.execute(sa.text(f"{last} FROM {table.name}"))


def _batches(lines: Iterable[bytes]) -> Iterator[list[dict[str, Any]]]:
    some: list[dict[str, Any]] = []
    for line in lines:
        some.append(json.loads(line))
        if len(some) == ROWS:
            yield some
            some = []
    if some:
        yield some


def _marked(connection: sa.Connection) -> None:
    """Edges learn by a new epoch that what they were answered may be forgotten, and tell it again."""
    connection.execute(tables.note.delete().where(tables.note.c.name == tables.EPOCH))
    connection.execute(tables.note.insert(), {"name": tables.EPOCH, "value": uuid.uuid4().hex})
