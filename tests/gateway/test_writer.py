"""The writer: what was answered is on the disk, and nobody suffers from another's poison."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa

from contracts.errors import Conflict, Unavailable
from gateway import tables as db
from gateway.writer import Writer

COUNT = "SELECT count(*) FROM outbox"


def insert(topic: str):
    return lambda tx: tx.execute(db.outbox.insert(), {"topic": topic, "key": "", "payload": ""})


async def test_an_answer_comes_after_the_commit_so_that_everybody_sees_what_was_answered(database):
    async def write(n):
        await database.writer.run(insert(str(n)))
        assert database.rows("SELECT count(*) FROM outbox WHERE topic = ?", str(n)) == [(1,)]

    await asyncio.gather(*(write(n) for n in range(200)))
    assert database.rows(COUNT) == [(200,)]


class Gate:
    """Holds the writer in a request, so that those that come meanwhile are in its next group together."""

    def __init__(self, database) -> None:
        self.open = threading.Event()
        self.task = asyncio.create_task(database.writer.run(lambda _tx: self.open.wait()))


async def test_requests_that_wait_together_share_one_commit(database):
    commits = 0
    engine = database.writer._engine  # noqa: SLF001 - to count what the database is asked

    @sa.event.listens_for(engine, "commit")
    def count(_connection):
        nonlocal commits
        commits += 1

    gate = Gate(database)
    others = [asyncio.create_task(database.writer.run(insert(str(n)))) for n in range(100)]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(gate.task, *others)
    assert commits <= 3


async def test_a_poison_request_fails_alone_and_leaves_no_trace(database):
    def poison(tx):
        insert("half done")(tx)
        tx.execute(sa.text("INSERT INTO nowhere VALUES (1)"))

    gate = Gate(database)
    good = [asyncio.create_task(database.writer.run(insert(f"good {n}"))) for n in range(3)]
    bad = asyncio.create_task(database.writer.run(poison))
    also_good = asyncio.create_task(database.writer.run(insert("good 3")))
    gate.open.set()
    await asyncio.gather(*good, also_good)
    with pytest.raises((Unavailable, sa.exc.ProgrammingError), match="nowhere"):
        await bad
    assert sorted(database.rows("SELECT topic FROM outbox")) == [(f"good {n}",) for n in range(4)]


async def test_an_error_with_a_meaning_reaches_its_caller_and_nobody_else(database):
    def refuse(_tx):
        raise Conflict("no")

    gate = Gate(database)
    refused = asyncio.create_task(database.writer.run(refuse))
    taken = asyncio.create_task(database.writer.run(insert("x")))
    gate.open.set()
    await taken
    with pytest.raises(Conflict, match="no"):
        await refused
    assert database.rows(COUNT) == [(1,)]


async def test_items_of_many_callers_go_through_one_call_and_each_gets_its_own_results(database):
    calls = []

    def double(_tx, items):
        calls.append(len(items))
        return [2 * item for item in items]

    gate = Gate(database)
    asked = [asyncio.create_task(database.writer.run_bulk(double, [n, n + 1])) for n in range(10)]
    nothing = asyncio.create_task(database.writer.run_bulk(double, []))
    await asyncio.sleep(0)
    gate.open.set()
    assert await asyncio.gather(*asked) == [[2 * n, 2 * n + 2] for n in range(10)]
    assert await nothing == []
    assert max(calls) > 2


async def test_a_poison_item_in_a_bulk_fails_only_its_own_caller(database):
    def picky(tx, items):
        for item in items:
            insert(str(item))(tx)
            if item == "poison":
                raise ZeroDivisionError
        return list(items)

    gate = Gate(database)
    asked = [asyncio.create_task(database.writer.run_bulk(picky, [item])) for item in ("a", "poison", "b")]
    await asyncio.sleep(0)
    gate.open.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert outcomes[0] == ["a"]
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert outcomes[2] == ["b"]
    assert sorted(database.rows("SELECT topic FROM outbox")) == [("a",), ("b",)]


async def test_a_caller_that_gives_up_waiting_harms_nobody(database):
    gate = Gate(database)
    impatient = asyncio.create_task(database.writer.run(insert("x")))
    await asyncio.sleep(0)
    impatient.cancel()
    gate.open.set()
    await database.writer.run(insert("y"))
    assert ("y",) in database.rows("SELECT topic FROM outbox")


async def test_stopping_finishes_what_was_asked_before_and_refuses_what_comes_after(database):
    writer = Writer(database.writer._engine)  # noqa: SLF001 - a second writer of the same database
    writer.start()
    asked = [asyncio.create_task(writer.run(insert(str(n)))) for n in range(300)]
    await asyncio.sleep(0)
    await asyncio.to_thread(writer.stop)
    await asyncio.gather(*asked)
    assert database.rows(COUNT) == [(300,)]
    with pytest.raises(Unavailable, match="stops"):
        await asyncio.wait_for(writer.run(insert("late")), 5)


ACKNOWLEDGING = """
import asyncio, sys
from gateway.database import migrate, open_engine
from gateway.writer import Writer
from gateway import tables as db

engine = open_engine(f"sqlite:///{sys.argv[1]}")
migrate(engine)
writer = Writer(engine)
writer.start()

async def one(n):
    row = {"topic": str(n), "key": "", "payload": "x" * 500}
    await writer.run(lambda tx: tx.execute(db.outbox.insert(), row))
    print(n, flush=True)

async def main():
    n = 0
    while True:
        await asyncio.gather(*(one(n + k) for k in range(20)))
        n += 20

asyncio.run(main())
"""


def test_every_row_that_was_acknowledged_exists_after_a_kill(tmp_path):
    path = tmp_path / "killed.db"
    process = subprocess.Popen([sys.executable, "-c", ACKNOWLEDGING, str(path)], stdout=subprocess.PIPE, text=True)
    acknowledged = []
    with process:
        for line in process.stdout:
            acknowledged.append(line)
            if len(acknowledged) == 400:
                process.send_signal(signal.SIGKILL)
    told = {line.strip() for line in acknowledged if line.endswith("\n")}
    assert len(told) >= 400
    with sqlite3.connect(path) as connection:
        kept = {row[0] for row in connection.execute("SELECT topic FROM outbox")}
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert told <= kept
