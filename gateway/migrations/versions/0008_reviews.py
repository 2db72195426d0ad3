"""What reviewers said of results, for those who look for what is still to be judged."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
COMPLETE = "state = 'complete'"


def upgrade() -> None:
    op.add_column("job", sa.Column("verification", sa.Integer, nullable=False, server_default="0"))
    postgresql = op.get_bind().dialect.name == "postgresql"
    said = "(doc::json->>'Verification')::int" if postgresql else "json_extract(doc, '$.Verification')"
    op.execute(f"UPDATE job SET verification = {said} WHERE {COMPLETE} AND {said} <> 0")
    complete = sa.text(COMPLETE)
    op.create_index("job_judged", "job", ["verification", "seq"], sqlite_where=complete, postgresql_where=complete)


def downgrade() -> None:
    op.drop_index("job_judged", "job")
    op.drop_column("job", "verification")
