"""Batches of files that people submit at the gateway, and what of them became no job."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
IN_BATCH = "batch <> ''"


def upgrade() -> None:
    op.add_column("job", sa.Column("batch", sa.Text, nullable=False, server_default=""))
    op.create_index(
        "job_by_batch",
        "job",
        ["batch", "seq", "state"],
        sqlite_where=sa.text(IN_BATCH),
        postgresql_where=sa.text(IN_BATCH),
    )
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "batch",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("name", "task", "by")),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "batch_entry",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("batch", "name")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("what", "said")),
        sa.Column("at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("batch_entry")
    op.drop_table("batch")
    op.drop_index("job_by_batch", "job")
    op.drop_column("job", "batch")
