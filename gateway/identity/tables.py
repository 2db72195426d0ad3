"""The tables of users, words, enrolments and the audit."""

import sqlalchemy as sa

from gateway.tables import BigId, metadata

GONE = "removed user "
"""How the names of notes begin that tell when a user was removed (ns)."""

account = sa.Table(
    "account",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("password", sa.Text, nullable=False),  # an argon2id hash; empty: logs in elsewhere only
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("subject", sa.Text, nullable=False, server_default=""),  # at an OpenID provider; empty: a user of ours
)

word = sa.Table(
    "word",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),  # edge, user, session; login: one by a provider, done
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),  # ns; 0: never
    sa.Column("used", sa.BigInteger, nullable=False),
    sa.Column("revoked", sa.BigInteger, nullable=False),  # ns; 0: it is good
    sa.Column("replaces", sa.Text, nullable=False),  # a digest, which ends when this word is first used
    sa.Index("word_by_name", "kind", "name"),
)

enrolment = sa.Table(
    "enrolment",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
    sa.Column("redeemed", sa.Text, nullable=False),  # the digest of the word it was given for; empty: it is unused
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", BigId, primary_key=True, autoincrement=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
)
