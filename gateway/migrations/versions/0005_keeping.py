"""Which jobs' files are kept here since when, for retention; and notes, such as which restore this database is of."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
ENDED = "state IN ('complete', 'failed', 'unmatched')"


def upgrade() -> None:
    op.add_column("job", sa.Column("kept_since", sa.BigInteger, nullable=False, server_default="0"))
    # When older jobs were made stands in their documents only; retention goes by their last change instead.
    op.execute(f"UPDATE job SET kept_since = last_updated WHERE {ENDED}")
    kept = sa.text("kept_since > 0")
    op.create_index("job_kept", "job", ["seq"], sqlite_where=kept, postgresql_where=kept)
    op.create_table("note", sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.Text, nullable=False))


def downgrade() -> None:
    op.drop_table("note")
    op.drop_index("job_kept", "job")
    op.drop_column("job", "kept_since")
