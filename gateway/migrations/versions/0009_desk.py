"""Tasks have an order of their own and may be disabled; jobs are listed by their last change and by name."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("task", sa.Column("place", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("task", sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute("UPDATE task SET place = seq")
    op.drop_index("job_by_update", "job")
    op.create_index("job_by_update", "job", ["last_updated", "seq"])
    op.create_index("job_by_name", "job", ["name", "seq"])


def downgrade() -> None:
    op.drop_index("job_by_name", "job")
    op.drop_index("job_by_update", "job")
    op.create_index("job_by_update", "job", ["last_updated"])
    op.drop_column("task", "disabled")
    op.drop_column("task", "place")
