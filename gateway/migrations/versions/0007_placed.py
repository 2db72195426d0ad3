"""Whose each output is that waits in a pipeline's folder."""

import json
import posixpath

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
WAITING = "SELECT id, doc FROM job WHERE state IN ('delivering', 'delivered') ORDER BY seq"


def upgrade() -> None:
    table = op.create_table(
        "placed", sa.Column("place", sa.Text, primary_key=True), sa.Column("job", sa.Text, nullable=False)
    )
    op.create_index("placed_by_job", "placed", ["job"])
    owners: dict[str, str] = {}
    for job_id, doc in op.get_bind().execute(sa.text(WAITING)):
        for file in json.loads(doc)["PipelineDetails"]["OutputFiles"] or ():
            if not file["ArchiveName"]:
                owners.setdefault(posixpath.normpath(posixpath.join(file["DirName"], file["Name"])), job_id)
    if owners:
        op.bulk_insert(table, [{"place": place, "job": job_id} for place, job_id in owners.items()])


def downgrade() -> None:
    op.drop_table("placed")
