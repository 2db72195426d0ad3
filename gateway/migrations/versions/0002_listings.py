"""Indexes for listings of a million jobs, and for what desks look for."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for column in ("status", "pipeline", "task"):
        op.create_index(f"job_by_{column}", "job", [column, "seq"])
    silent = sa.text("lease_holder = '' AND lease_until > 0")
    op.create_index("job_silent", "job", ["lease_until"], sqlite_where=silent, postgresql_where=silent)
    unseen = sa.text("wants_preview")
    op.create_index("job_unseen", "job", ["seq"], sqlite_where=unseen, postgresql_where=unseen)


def downgrade() -> None:
    for name in ("job_by_status", "job_by_pipeline", "job_by_task", "job_silent", "job_unseen"):
        op.drop_index(name, "job")
