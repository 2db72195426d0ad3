"""How engines for the gateway's database are opened, and what its errors mean."""

import logging
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event

from contracts.disk import sync_folder
from contracts.errors import Away, BadRequest

if TYPE_CHECKING:
    from alembic.config import Config

log = logging.getLogger(__name__)
MIGRATIONS = Path(__file__).parent / "migrations"


def open_engine(url: str, *, writes: bool = True) -> sa.Engine:
    """An engine whose transactions are safe by what is set here, not by defaults.

    SQLite: write-ahead log, every commit synced to disk, writers queue (``BEGIN IMMEDIATE``) instead of
    failing half-way; readers (``writes=False``) see a snapshot and never block a writer. PostgreSQL: see there.
    Raises ``ValueError`` for a URL of any other database.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() in ("postgresql", "postgres"):
        return _postgresql(parsed)
    if parsed.get_backend_name() != "sqlite":
        raise ValueError(f"database_url is {parsed.render_as_string()!r}; it must be postgresql://… or sqlite:///…")
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


def _postgresql(url: sa.URL) -> sa.Engine:
    """Commits are on disk when they are answered; no wait is endless; a connection that broke is replaced."""
    limits = {
        "synchronous_commit": "on",
        "statement_timeout": 60_000,
        "lock_timeout": 10_000,
        "idle_in_transaction_session_timeout": 60_000,
    }
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        isolation_level="READ COMMITTED",
        pool_size=4,
        max_overflow=12,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 5,
            "application_name": "cytobus",
            "keepalives": 1,
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
        },
    )

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def on_execute(
        _connection: object, _cursor: object, statement: str, parameters: Any, _context: object, _many: bool
    ) -> tuple[str, Any]:
        return statement, _plain(parameters)

    return engine


def is_away(error: BaseException) -> bool:
    """Whether an error says that the database cannot be reached or takes nothing now, rather than that it refuses."""
    if isinstance(error, sa.exc.TimeoutError):
        return True  # no connection of the pool became free
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    return error.connection_invalidated or isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)


def is_unfit(error: BaseException) -> bool:
    """Whether an error says that a value cannot be kept: a number beyond 64 bits, or text that is no Unicode."""
    return isinstance(error, sa.exc.DataError | OverflowError | UnicodeEncodeError)


def is_rivalry(error: BaseException) -> bool:
    """Whether an error comes of another gateway's doing at the same time, so that trying again will do."""
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    return getattr(error.orig, "sqlstate", "") in ("40001", "40P01", "23505", "55P03")


def unavailable(error: BaseException) -> Away:
    """What callers are told of a database that is away."""
    return Away(f"the database does not answer now: {getattr(error, 'orig', None) or error}")


def unfit(error: BaseException) -> BadRequest:
    """What callers are told of a value that the database cannot keep."""
    return BadRequest(f"the database cannot keep this: {getattr(error, 'orig', None) or error}")


def _plain(value: Any) -> Any:
    """Parameters as PostgreSQL takes them: texts without the NUL character."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd") if "\0" in value else value
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value


def doubts(engine: sa.Engine) -> list[tuple[str, str, str]]:
    """What of the database's own settings breaks the promise that what was answered is on disk: (setting, value,
    remedy). None on SQLite, where we set them."""
    if engine.dialect.name != "postgresql":
        return []
    wanted = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "server_encoding": "UTF8"}
    with engine.connect() as connection:
        found = {name: str(connection.exec_driver_sql(f"SHOW {name}").scalar()) for name in wanted}
        version = int(str(connection.exec_driver_sql("SHOW server_version_num").scalar()))
    bad = [(name, value, f"set it to {wanted[name]}") for name, value in found.items() if value != wanted[name]]
    return bad + ([("version", str(version), "use PostgreSQL 13 or newer")] if version < 130000 else [])


LOCKED = 10.0
"""Seconds for which a SQLite file that another has locked is tried at least."""


def migrate(engine: sa.Engine, *, patience: float = 0.0) -> None:
    """Bring the schema to the newest revision; safe when two services start at once.

    A database that is away is waited for ``patience`` seconds. Raises ``OSError`` when it does not come.
    """
    deadline, said = time.monotonic() + patience, False
    while True:
        try:
            _migrate(engine)
            return
        except sa.exc.SQLAlchemyError as error:
            if not is_away(error):
                raise
            # Two that begin a SQLite file at the same moment get in each other's way, whatever its time to wait is.
            locked = "database is locked" in str(error)
            if time.monotonic() > deadline + (LOCKED if locked else 0.0):
                raise OSError(f"the database {engine.url.render_as_string()} is away: {error}") from None
            if not said and not locked:
                log.warning("waiting for the database %s: %s", engine.url.render_as_string(), error)
            said = said or not locked
            time.sleep(0.05 if locked else 0.5)


def _migrate(engine: sa.Engine) -> None:
    """The revision is read and the steps are taken in one transaction that other writers wait for. Where there is
    nothing to do, as at nearly every start, neither is Alembic loaded nor anybody waited for."""
    if not _is_newest(engine):
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                # The other gateway may take its time, and so may an index over a million jobs.
                connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
                connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7318349394477056)"))
            upgrade(connection, "head")
    sync_names(str(engine.url))


def _is_newest(engine: sa.Engine) -> bool:
    """Whether the newest revision is committed, all of it: each is, together with its number."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return False
        found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all()
    return list(found) == [newest()]


def newest() -> str:
    """The newest revision that is known here: files of revisions begin with their numbers."""
    return max(path.name for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py")).partition("_")[0]


def _scripts() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def upgrade(connection: sa.Connection, revision: str) -> None:
    """Bring the schema to a revision, in the connection's transaction."""
    from alembic import command

    config = _scripts()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def revisions() -> set[str]:
    """All revisions that are known here."""
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(_scripts()).walk_revisions()}


def sync_names(url: str) -> None:
    """A SQLite file's name is on the disk: SQLite syncs the names of its logs only."""
    path = sa.make_url(url).database
    if sa.make_url(url).get_backend_name() == "sqlite" and path:
        sync_folder(Path(path).resolve().parent)
