"""The map of cells: what each job has put on it, groups with names, gates and what they decided."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "cell_source",
        sa.Column("job", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("trouble", sa.Text, nullable=False),
        sa.Column("doc", sa.Text, nullable=False),
        sa.Column("cells", sa.Text, nullable=False),
        sa.Column("features", sa.Text, nullable=False),
    )
    op.create_table(
        "cell_group",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("many", sa.Integer, nullable=False),
        sa.Column("cells", sa.Text, nullable=False),
    )
    op.create_table(
        "cell_gate",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
    )
    op.create_table(
        "cell_decision",
        sa.Column("gate", sa.Text, primary_key=True),
        sa.Column("job", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("accepted", sa.Integer, nullable=False),
        sa.Column("rejected", sa.Integer, nullable=False),
        sa.Column("nanoseconds", sa.BigInteger, nullable=False),
        sa.Column("cells", sa.Text, nullable=False),
    )
    op.create_index("cell_decision_by_gate", "cell_decision", ["gate", "sequence"])


def downgrade() -> None:
    for table in ("cell_decision", "cell_gate", "cell_group", "cell_source"):
        op.drop_table(table)
