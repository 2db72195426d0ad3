"""Cells of which vectors are kept: a row for those of an image that were added together, and the names of classes."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "cell_block",
        sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("many", sa.Integer, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("instrument", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("cells", sa.Text, nullable=False),
    )
    op.create_index("cell_block_by_model", "cell_block", ["model", "first"])
    op.create_index("cell_block_by_job", "cell_block", ["job", "model"])
    op.create_table(
        "cell_class",
        sa.Column("code", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False, unique=True),
    )


def downgrade() -> None:
    op.drop_table("cell_class")
    op.drop_table("cell_block")
