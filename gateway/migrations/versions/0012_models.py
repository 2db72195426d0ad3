"""Models that were uploaded, which of them each pipeline uses, and what runners say of pipelines besides."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "model",
        sa.Column("sha256", sa.Text, primary_key=True),
        sa.Column("pipeline", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("doc", sa.Text, nullable=False),
        sa.UniqueConstraint("pipeline", "version", name="model_version"),
    )
    op.create_table(
        "model_choice",
        sa.Column("pipeline", sa.Text, primary_key=True),
        sa.Column("doc", sa.Text, nullable=False),
    )
    op.add_column("pipeline", sa.Column("about", sa.Text, nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("pipeline", "about")
    op.drop_table("model_choice")
    op.drop_table("model")
