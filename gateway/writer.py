"""One thread that writes, with many requests sharing one commit."""

import asyncio
import contextlib
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from contracts.errors import AppError, Unavailable
from gateway.database import is_away, is_rivalry, is_unfit, unavailable, unfit

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item
O = TypeVar("O")  # noqa: E741 - what comes of it
GROUP = 128
"""Requests that share a commit at most; more gain nothing and lengthen the wait of the first."""
TRIES, RIVAL_SECONDS = 6, 0.02
"""So often a request is tried that another gateway's got in the way of; the first pause (s), which doubles."""
PATIENCE = 0.003
"""Seconds that a busy writer waits for companions before it commits."""


Bulk = Callable[[sa.Connection, list[Any]], list[Any]]


@dataclass
class _Request:
    """Either a function to run, or items for a bulk function that may be joined with those of others."""

    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[Any]"
    work: Callable[[sa.Connection], Any] | None = None
    items: Sequence[Any] = ()
    bulk: Bulk | None = None


class Writer:
    """Runs functions on a connection, one after the other, in groups that share a transaction.

    The answer to each is given only after the commit it rode in, so what was answered survives a power cut.
    A function that raises an ``AppError`` must have written nothing. When a database error breaks a group,
    each of its functions is run again in a transaction of its own: one poison request fails alone. What two
    gateways on one database do to each other (deadlocks, the same row made twice) is tried again.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._remote = engine.dialect.name != "sqlite"
        self._waiting: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._stopped = False

    def start(self) -> None:
        """Begin to work. May be called once."""
        self._thread = threading.Thread(target=self._run, name="database writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what was asked before, then end the thread; who asks later is refused. Blocks."""
        self._stopped = True
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join()

    async def run(self, work: Callable[[sa.Connection], T]) -> T:
        """The function's result, once committed. Raises ``Unavailable`` when the database does not take it."""
        loop = asyncio.get_running_loop()
        result: T = await self._ask(_Request(loop, loop.create_future(), work=work))
        return result

    async def run_bulk(self, bulk: Callable[[sa.Connection, list[I]], list[O]], items: Sequence[I]) -> list[O]:
        """One result an item. The items of many callers go to ``bulk`` in one call: few statements for many."""
        loop = asyncio.get_running_loop()
        results: list[O] = await self._ask(_Request(loop, loop.create_future(), items=items, bulk=bulk))
        return results

    async def _ask(self, request: _Request) -> Any:
        if self._stopped:
            raise Unavailable("the database takes no more writes: the gateway stops")
        self._waiting.put(request)
        return await request.done

    def _run(self) -> None:
        while True:
            group, last = self._next_group()
            self._busy = len(group) > 1
            if group:
                self._work_off(group)
            if last:
                return

    def _next_group(self) -> tuple[list[_Request], bool]:
        group: list[_Request] = []
        request = self._waiting.get()
        if self._busy:
            # Where there is one request there will be more: a moment's patience makes fewer, larger groups.
            time.sleep(PATIENCE)
        while request is not None:
            group.append(request)
            if len(group) >= GROUP:
                return group, False
            try:
                request = self._waiting.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _work_off(self, group: list[_Request]) -> None:
        answers: list[tuple[_Request, Any, Exception | None]] = []
        for turn in range(TRIES):
            try:
                with self._engine.begin() as connection:
                    answers = _bulk_answers(group, connection)
                    answers += [_answer(request, connection) for request in group if request.bulk is None]
                break
            except Exception as error:
                away = is_away(error)
                if len(group) > 1 and not (away and self._remote and not is_rivalry(error)):
                    for request in group:
                        self._work_off([request])
                    return
                if is_rivalry(error) and turn + 1 < TRIES:
                    time.sleep(random.uniform(0.2, 1.0) * RIVAL_SECONDS * 2**turn)
                    continue
                problem = unavailable(error) if away else unfit(error) if is_unfit(error) else error
                answers = [(request, None, problem) for request in group]
                break
        for request, result, failure in answers:
            _tell(request, result, failure)


def _bulk_answers(group: list[_Request], connection: sa.Connection) -> list[tuple[_Request, Any, Exception | None]]:
    joined: dict[Bulk, list[_Request]] = {}
    for request in group:
        if request.bulk is not None:
            joined.setdefault(request.bulk, []).append(request)
    answers: list[tuple[_Request, Any, Exception | None]] = []
    for bulk, requests in joined.items():
        results = iter(bulk(connection, [item for request in requests for item in request.items]))
        answers += [(request, [next(results) for _ in request.items], None) for request in requests]
    return answers


def _answer(request: _Request, connection: sa.Connection) -> tuple[_Request, Any, Exception | None]:
    assert request.work is not None
    try:
        return request, request.work(connection), None
    except AppError as error:
        return request, None, error


def _tell(request: _Request, result: Any, failure: Exception | None) -> None:
    def settle() -> None:
        if request.done.cancelled():
            return
        if failure is not None:
            request.done.set_exception(failure)
        else:
            request.done.set_result(result)

    with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
        request.loop.call_soon_threadsafe(settle)
