"""What a restored database and the gateway's files have to do with each other."""

import sqlalchemy as sa

from contracts.models import Job, State
from gateway import database as db
from gateway import tables
from gateway.file_sender.archive import put_back
from gateway.files import GatewayFiles

NEED_FILES = (State.RECEIVED, State.RUNNING, State.PROCESSED, State.DELIVERING, State.FAILED, State.QUARANTINED)
"""The states of jobs whose files must lie in their places; later ones look into the archive themselves."""


def settle(url: str, files: GatewayFiles) -> int:
    """Put back what jobs that are on their way once more need from the archive; the number of files.

    May be repeated. What is missing then is sent again by its instrument.
    """
    engine = db.open_engine(url, writes=False)
    count = 0
    try:
        with engine.connect() as connection:
            wanted = sa.select(tables.job.c.doc).where(tables.job.c.state.in_([str(state) for state in NEED_FILES]))
            for (doc,) in connection.execution_options(stream_results=True, yield_per=500).execute(wanted):
                count += put_back(Job.model_validate_json(doc), files)
    finally:
        engine.dispose()
    return count
