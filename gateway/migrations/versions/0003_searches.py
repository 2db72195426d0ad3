"""Indexes that differ by database: names by a part of them, and pairs of conditions.

PostgreSQL has statistics and puts several indexes together, and each index of ours costs it more at every change;
SQLite needs one index for each pair that is asked for.
"""

import logging

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
log = logging.getLogger(__name__)
CANNOT_BE_HAD = ("42501", "58P01", "0A000", "42704")
"""PostgreSQL's codes for: no privilege, no such file, not supported, no such object."""
ON_SQLITE = {
    # All names in the order of listings, without the documents: there is little to read through.
    "job_names": ["seq", "name"],
    "job_of_host": ["origin_host", "seq"],
    "job_of_pipeline_in_state": ["pipeline", "state", "seq"],
    "job_of_task_in_state": ["task", "state", "seq"],
}


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        for name, columns in ON_SQLITE.items():
            op.create_index(name, "job", columns)
        return
    try:
        with connection.begin_nested():
            op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            op.execute("CREATE INDEX job_names ON job USING gin (name gin_trgm_ops)")
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") not in CANNOT_BE_HAD:
            raise
        log.warning("names are searched without an index: PostgreSQL's pg_trgm cannot be had: %s", error)


def downgrade() -> None:
    for name in ON_SQLITE:
        op.execute(f"DROP INDEX IF EXISTS {name}")
