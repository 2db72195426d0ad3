"""The gateway's tables."""

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()

BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")


IN_BATCH = "batch <> ''"
"""Of jobs in batches, word for word as in their index, which is then known to hold all that is looked for."""


def _where(condition: str) -> dict[str, Any]:
    """An index of the rows that are looked for, which are few."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


job = sa.Table(
    "job",
    metadata,
    sa.Column("seq", BigId, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("origin_host", sa.Text, nullable=False),
    sa.Column("origin_dir", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("pipeline", sa.Text, nullable=False),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("lease_holder", sa.Text, nullable=False),
    sa.Column("lease_until", sa.BigInteger, nullable=False),
    sa.Column("not_before", sa.BigInteger, nullable=False),
    sa.Column("wants_preview", sa.Boolean, nullable=False),
    sa.Column("last_updated", sa.BigInteger, nullable=False),
    sa.Column("doc", sa.Text, nullable=False),
    sa.Column("kept_since", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("verification", sa.Integer, nullable=False, server_default="0"),
    sa.Column("batch", sa.Text, nullable=False, server_default=""),
    sa.Index("job_by_state", "state", "seq"),
    sa.Index("job_by_location", "origin_host", "origin_dir", "name"),
    sa.Index("job_by_owner", "owner", "seq"),
    sa.Index("job_by_host", "origin_host", "state", "seq"),
    sa.Index("job_by_update", "last_updated", "seq"),
    sa.Index("job_by_name", "name", "seq"),
    sa.Index("job_by_status", "status", "seq"),
    sa.Index("job_by_pipeline", "pipeline", "seq"),
    sa.Index("job_by_task", "task", "seq"),
    sa.Index("job_silent", "lease_until", **_where("lease_holder = '' AND lease_until > 0")),
    sa.Index("job_unseen", "seq", **_where("wants_preview")),
    sa.Index("job_kept", "seq", **_where("kept_since > 0")),
    sa.Index("job_by_batch", "batch", "seq", "state", **_where(IN_BATCH)),
    sa.Index("job_judged", "verification", "seq", **_where("state = 'complete'")),
    sqlite_autoincrement=True,  # a cursor must not come to mean another job when the newest is deleted
)

history = sa.Table(
    "history",
    metadata,
    sa.Column("seq", BigId, primary_key=True, autoincrement=True),
    sa.Column("job_id", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("from_state", sa.Text, nullable=False),
    sa.Column("to_state", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Index("history_by_job", "job_id", "seq"),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("seq", BigId, primary_key=True, autoincrement=True),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
)

placed = sa.Table(
    "placed",
    metadata,
    sa.Column("place", sa.Text, primary_key=True),  # the path of an output that waits to be delivered and archived
    sa.Column("job", sa.Text, nullable=False),
    sa.Index("placed_by_job", "job"),
)

task = sa.Table(
    "task",
    metadata,
    sa.Column("seq", BigId, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("doc", sa.Text, nullable=False),
    sa.Column("place", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.false()),
)

batch = sa.Table(
    "batch",
    metadata,
    sa.Column("seq", BigId, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("task", sa.Text, nullable=False),  # its id; empty: by the rules
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
)

batch_entry = sa.Table(
    "batch_entry",
    metadata,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),  # of what was submitted and is no job, in its folders
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("said", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

EPOCH = "epoch"
"""The note that tells which restore of a backup a database is of."""
note = sa.Table(
    "note",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

pipeline = sa.Table(
    "pipeline",
    metadata,
    sa.Column("topic", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("last_seen", sa.BigInteger, nullable=False),
    sa.Column("about", sa.Text, nullable=False, server_default="{}"),
)

edge_status = sa.Table(
    "edge_status",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("doc", sa.Text, nullable=False),
)

model = sa.Table(
    "model",
    metadata,
    sa.Column("sha256", sa.Text, primary_key=True),
    sa.Column("pipeline", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("doc", sa.Text, nullable=False),
    sa.UniqueConstraint("pipeline", "version", name="model_version"),
)

model_choice = sa.Table(
    "model_choice",
    metadata,
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("doc", sa.Text, nullable=False),
)

NEXT_CELL = "next-cell"
"""The note that tells the id of the next cell; ids are never given twice."""
cell_block = sa.Table(
    "cell_block",
    metadata,
    sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),  # its cells' ids follow each other
    sa.Column("many", sa.Integer, nullable=False),
    sa.Column("model", sa.Text, nullable=False),  # the version of what made the vectors
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("instrument", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("cells", sa.Text, nullable=False),  # what there is to say of each, packed: see gateway.cells.rules
    sa.Index("cell_block_by_model", "model", "first"),
    sa.Index("cell_block_by_job", "job", "model"),
)

cell_class = sa.Table(
    "cell_class",
    metadata,
    sa.Column("code", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False, unique=True),
)

NEXT_SOURCE = "next-cell-source"
"""The note that tells the sequence of the next source of cells."""
cell_source = sa.Table(
    "cell_source",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),  # in the order of commits
    sa.Column("digest", sa.Text, nullable=False),  # of the table that was read
    sa.Column("trouble", sa.Text, nullable=False),  # why it could not be; empty: it was
    sa.Column("doc", sa.Text, nullable=False),  # what holds for all its cells
    sa.Column("cells", sa.Text, nullable=False),  # packed: see gateway.cell_map.rules
    sa.Column("features", sa.Text, nullable=False),
)

cell_group = sa.Table(
    "cell_group",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("many", sa.Integer, nullable=False),
    sa.Column("cells", sa.Text, nullable=False),  # their ids, packed
)

cell_gate = sa.Table(
    "cell_gate",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
)

cell_decision = sa.Table(
    "cell_decision",
    metadata,
    sa.Column("gate", sa.Text, primary_key=True),
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("accepted", sa.Integer, nullable=False),
    sa.Column("rejected", sa.Integer, nullable=False),
    sa.Column("nanoseconds", sa.BigInteger, nullable=False),  # that all its cells took
    sa.Column("cells", sa.Text, nullable=False),  # labels of those that were rejected, packed
    sa.Index("cell_decision_by_gate", "gate", "sequence"),
)
