"""A gateway's database with very many jobs in it, made by the database itself."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from contracts.models import InputFile, Job, PipelineDetails, State
from gateway import tables as db
from gateway.job_repository.rows import row_of

PLATES = 10_000
"""Names that there are; each is followed by a well that counts on."""
KINDS = (State.COMPLETE,) * 97 + (State.UNMATCHED, State.FAILED, State.QUARANTINED)
"""Of a hundred jobs."""
NS = 10**9


def _template(state: State, kind: int, at: int) -> Job:
    """A job whose number, in words that are put in, is ``@n``."""
    results = '{"count": 61, "confluence": 0.17}' if state is State.COMPLETE else ""
    return Job(
        id="crowd-@n",
        state=state,
        owner="none",
        status="Complete",
        origin_host=f"scope-{kind % 20:02}",
        origin_dir="/images/",
        input_file=InputFile(hostname="gateway", dir_name="/in/", name="plate-@p.tif", extension=".tif", size=2**20),
        pipeline_details=PipelineDetails(task_id="of-the-crowd", pipeline_id="nuclei", results=results),
        reason="" if state in (State.COMPLETE, State.UNMATCHED) else "the image is broken; take it again",
        created=at,
        last_updated=at,
    )


def fill(file: Path, count: int, at: int) -> None:
    """Adds ``count`` jobs to the database of a gateway that does not run, a multiple of a hundred, the oldest ``count``
    seconds before ``at`` (ns). Only what listings show of them is true: they have neither histories nor files."""
    with closing(sqlite3.connect(file, isolation_level=None)) as base:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-200000", "temp_store=MEMORY"):
            base.execute(f"PRAGMA {pragma}")
        base.execute("BEGIN IMMEDIATE")
        indexes = base.execute("SELECT name, sql FROM sqlite_master WHERE tbl_name = 'job' AND type = 'index'")
        dropped = [(name, sql) for name, sql in indexes.fetchall() if sql]
        for name, _ in dropped:
            base.execute(f"DROP INDEX {name}")
        base.execute("CREATE TEMP TABLE kind (number INTEGER PRIMARY KEY, " + ", ".join(_columns()) + ")")
        begun = at - count * NS
        for number, state in enumerate(KINDS):
            job = _template(state, number, begun)
            row = row_of(job)
            row["doc"] = re.sub(rf'("(?:LastUpdated|Created)":){begun}\b', r"\1@t", _short(job))
            names = list(row)
            base.execute(
                f"INSERT INTO kind (number, {', '.join(names)}) VALUES (?{', ?' * len(names)})", [number, *row.values()]
            )
        base.execute(*_insert(count, begun))
        for _, sql in dropped:
            base.execute(sql)
        base.execute("COMMIT")
        base.execute("PRAGMA optimize")


def _short(job: Job) -> str:
    """Without what is as it always is: a million jobs are to be made in seconds."""
    return job.model_dump_json(by_alias=True, exclude_defaults=True)


def _columns() -> list[str]:
    return [column.name for column in db.job.columns if column.name != "seq"]


def _insert(count: int, begun: int) -> tuple[str, tuple[int, ...]]:
    """All in one statement: the number is put into the text of each kind."""
    put = {
        "id": "printf('crowd-%07d', n)",
        "name": f"'plate-' || printf('%05d', n % {PLATES}) || '-' || n || '.tif'",
        "last_updated": f"{begun} + n * {NS}",
        "doc": "replace(replace(replace(doc, '@n', printf('%07d', n)), '@p', printf('%05d', n % "
        + str(PLATES)
        + ") || '-' || n),"
        f" '@t', {begun} + n * {NS})",
    }
    columns = _columns()
    return (
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
        f" INSERT INTO job ({', '.join(columns)}) SELECT {', '.join(put.get(name, name) for name in columns)}"
        f" FROM numbers CROSS JOIN kind ON kind.number = n % {len(KINDS)}",
        (count,),
    )
