"""Indexes that find jobs by a part of a file's name; each database has its own way, so they are not in the tables."""

import logging

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
log = logging.getLogger(__name__)


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        # All names in the order of listings, without the documents: there is little to read through.
        op.create_index("job_names", "job", ["seq", "name"])
        return
    try:
        with connection.begin_nested():
            op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            op.execute("CREATE INDEX job_names ON job USING gin (name gin_trgm_ops)")
    except sa.exc.SQLAlchemyError as error:
        log.warning("names are searched without an index: PostgreSQL's pg_trgm cannot be had: %s", error)


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS job_names")
