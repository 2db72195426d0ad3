"""Users, words of users and instruments, enrolments, and the audit."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

big_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _bigs(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def upgrade() -> None:
    name = sa.Column("name", sa.Text, primary_key=True)
    op.create_table("account", name, *_texts("role", "password"), *_bigs("created"))
    op.create_table(
        "word",
        sa.Column("digest", sa.Text, primary_key=True),
        *_texts("kind", "name"),
        *_bigs("created", "expires", "used", "revoked"),
        *_texts("replaces"),
    )
    op.create_index("word_by_name", "word", ["kind", "name"])
    digest = sa.Column("digest", sa.Text, primary_key=True)
    op.create_table("enrolment", digest, *_texts("name"), *_bigs("created", "expires"), *_texts("redeemed"))
    seq = sa.Column("seq", big_id, primary_key=True, autoincrement=True)
    op.create_table("audit", seq, *_bigs("at"), *_texts("actor", "role", "address", "what", "outcome"))


def downgrade() -> None:
    for table in ("audit", "enrolment", "word", "account"):
        op.drop_table(table)
