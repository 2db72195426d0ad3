"""Tasks in their order, and the pipelines that have said they are there."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from contracts.errors import NotFound
from contracts.models import Task
from contracts.ports import Clock
from gateway import tables as db
from gateway.reader import Reader
from gateway.writer import Writer

FRESH_NS = 1_000_000_000
"""How long the list of tasks is believed before it is read again: another gateway may have changed it."""
T = db.task.c
IN_ORDER = sa.select(T.id, T.doc, T.disabled).order_by(T.place, T.seq)
PLACE = db.task.update().where(T.id == sa.bindparam("mine")).values(place=sa.bindparam("to"))


@dataclass(frozen=True)
class Registered:
    """A pipeline that a worker runs, and when that worker was last heard of (ns since the epoch)."""

    topic: str
    name: str
    description: str
    parameters: Mapping[str, Any]
    worker: str
    last_seen: int
    about: Mapping[str, Any]


class TaskStore:
    """Tasks and pipelines in SQL."""

    def __init__(self, writer: Writer, reader: Reader, clock: Clock) -> None:
        self._writer, self._reader, self._clock = writer, reader, clock
        self._known: tuple[Task, ...] = ()
        self._read_at = 0

    async def tasks(self) -> tuple[Task, ...]:
        """All tasks, in the order in which they are asked; the disabled ones, too."""
        now = self._clock()
        if not 0 <= now - self._read_at < FRESH_NS:
            rows = await self._reader.run(lambda tx: tx.execute(IN_ORDER).all())
            self._known = tuple(
                Task.model_validate_json(row.doc).evolve(order=nth, disabled=row.disabled)
                for nth, row in enumerate(rows, start=1)
            )
            self._read_at = now
        return self._known

    async def get(self, task_id: str) -> Task:
        """One task. Raises ``NotFound``."""
        for task in await self.tasks():
            if task.id == task_id:
                return task
        raise NotFound(f"failed to retrieve task from task launcher: specified task id {task_id} not found")

    async def add(self, task: Task) -> None:
        """Keep a new task, asked after all others."""
        last = sa.select(sa.func.coalesce(sa.func.max(T.place), 0) + 1).scalar_subquery()
        await self._write(lambda tx: tx.execute(db.task.insert().values(id=task.id, doc=_doc(task), place=last)))

    async def replace(self, task_id: str, edit: Callable[[Task], Task]) -> Task:
        """A task after an edit. Raises ``NotFound``."""

        def work(tx: sa.Connection) -> Task:
            mine = db.task.c.id == task_id
            doc = tx.execute(sa.select(db.task.c.doc).where(mine).with_for_update()).scalar()
            if doc is None:
                raise NotFound(f"specified task id {task_id} not found")
            task = edit(Task.model_validate_json(doc)).evolve(last_updated=self._clock())
            tx.execute(db.task.update().where(mine).values(doc=_doc(task)))
            return task

        result: Task = await self._write(work)
        return result

    async def place(self, task_id: str, order: int) -> None:
        """Put a task at a place, from 1 on; beyond the last is the last. Raises ``NotFound``. It is no new version."""

        def work(tx: sa.Connection) -> None:
            ids = [row.id for row in tx.execute(IN_ORDER.with_for_update())]
            if task_id not in ids:
                raise NotFound(f"specified task id {task_id} not found")
            ids.remove(task_id)
            ids.insert(order - 1, task_id)
            tx.execute(PLACE, [{"mine": one, "to": nth} for nth, one in enumerate(ids, start=1)])

        await self._write(work)

    async def disable(self, task_id: str, disabled: bool) -> None:
        """Let a task want nothing, or again what its rule says. Raises ``NotFound``. It is no new version."""
        change = db.task.update().where(T.id == task_id).values(disabled=disabled)
        if not await self._write(lambda tx: tx.execute(change).rowcount):
            raise NotFound(f"specified task id {task_id} not found")

    async def remove(self, task_id: str) -> bool:
        """Forget a task; whether there was one."""
        gone = db.task.delete().where(db.task.c.id == task_id)
        return bool(await self._write(lambda tx: tx.execute(gone).rowcount))

    async def register(self, worker: str, pipelines: Sequence[Mapping[str, Any]]) -> None:
        """Note that a worker is alive and runs these pipelines; of two on one topic, the last."""
        rows = {
            pipeline["topic"]: {
                "topic": pipeline["topic"],
                "name": pipeline["name"],
                "description": pipeline["description"],
                "parameters": json.dumps(pipeline.get("parameters", {})),
                "worker": worker,
                "last_seen": self._clock(),
                "about": json.dumps(pipeline.get("about", {})),
            }
            for pipeline in pipelines
        }

        def work(tx: sa.Connection) -> None:
            tx.execute(db.pipeline.delete().where(db.pipeline.c.topic.in_(list(rows))))
            if rows:
                tx.execute(db.pipeline.insert(), list(rows.values()))

        await self._write(work)

    async def registered(self) -> list[Registered]:
        """The pipelines that workers have registered, by topic."""
        rows = await self._reader.run(lambda tx: tx.execute(sa.select(db.pipeline).order_by(db.pipeline.c.topic)).all())
        return [
            Registered(
                r.topic, r.name, r.description, json.loads(r.parameters), r.worker, r.last_seen, json.loads(r.about)
            )
            for r in rows
        ]

    async def _write(self, work: Callable[[sa.Connection], Any]) -> Any:
        result = await self._writer.run(work)
        self._read_at = 0
        return result


def _doc(task: Task) -> str:
    """What a version of a task is; its place, and whether it is disabled, stand beside it."""
    return task.model_dump_json(by_alias=True, exclude={"order", "disabled"})
