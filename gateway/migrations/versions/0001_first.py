"""Jobs, their history, the outbox, tasks and pipelines."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

big_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(name: str, unique: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, unique=unique)


def _big(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _seq() -> sa.Column[int]:
    return sa.Column("seq", big_id, primary_key=True, autoincrement=True)


def upgrade() -> None:
    words = ["state", "owner", "status", "origin_host", "origin_dir", "name", "sha256", "pipeline", "task"]
    op.create_table(
        "job",
        _seq(),
        _text("id", unique=True),
        *[_text(word) for word in words],
        _text("lease_holder"),
        _big("lease_until"),
        _big("not_before"),
        sa.Column("wants_preview", sa.Boolean, nullable=False),
        _big("last_updated"),
        _text("doc"),
        sqlite_autoincrement=True,
    )
    op.create_index("job_by_state", "job", ["state", "seq"])
    op.create_index("job_by_location", "job", ["origin_host", "origin_dir", "name"])
    op.create_index("job_by_owner", "job", ["owner", "seq"])
    op.create_index("job_by_host", "job", ["origin_host", "state", "seq"])
    op.create_index("job_by_update", "job", ["last_updated"])
    columns = [_text(word) for word in ("by", "what", "from_state", "to_state", "why")]
    op.create_table("history", _seq(), _text("job_id"), _big("at"), *columns)
    op.create_index("history_by_job", "history", ["job_id", "seq"])
    op.create_table("outbox", _seq(), _text("topic"), _text("key"), _text("payload"))
    op.create_table("task", _seq(), _text("id", unique=True), _text("doc"))
    columns = [_text(word) for word in ("name", "description", "parameters", "worker")]
    op.create_table("pipeline", sa.Column("topic", sa.Text, primary_key=True), *columns, _big("last_seen"))


def downgrade() -> None:
    for table in ("pipeline", "task", "outbox", "history", "job"):
        op.drop_table(table)
