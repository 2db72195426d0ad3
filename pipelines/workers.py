"""A pool of processes that run plug-ins: what one of them breaks, only its own job feels."""

import asyncio
import atexit
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from pipelines.delivery import Output, abandon
from pipelines.execution import Limits, Outcome, RunRequest, Status
from pipelines.worker_process import Setup, end, serve

__all__ = ["Closed", "Limits", "Outcome", "Output", "RunRequest", "Status", "Workers", "one_thread"]

_SPAWN = multiprocessing.get_context("spawn")
_START_SECONDS = 120.0
"""In which a worker must have loaded its plug-ins."""
_ATTEMPTS = 3
"""To find a live process for a job."""

P = ParamSpec("P")
T = TypeVar("T")


class Closed(RuntimeError):
    """The pool is closed; the job was not finished and nothing of it was delivered."""


def one_thread(threads: int = 1) -> dict[str, str]:
    """The environment in which numerical libraries keep to so many threads, so that workers do not fight."""
    names = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
    return {f"{name}_NUM_THREADS".replace("MAXIMUM_NUM", "MAXIMUM"): str(threads) for name in names}


class Workers:
    """Runs plug-ins off the event loop, ``size`` at a time, each in a process of its own.

    ``async with Workers(2) as workers: outcome = await workers.run(request)``. A process that crashes, or is
    killed for its time or memory, is replaced; other jobs go on. Cancelling ``run`` kills its process.
    """

    def __init__(
        self,
        size: int,
        *,
        preload: tuple[str, ...] = (),
        memory_bytes: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``preload``: plug-ins as ``module:Class``; ``environment``: ``one_thread()`` unless given."""
        settled = dict(one_thread() if environment is None else environment)
        self._slots = [_Slot(Setup(settled, memory_bytes, tuple(preload))) for _ in range(size)]
        self._free: asyncio.Queue[_Slot] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(size, "worker-slot")
        self._closed = False
        self.on_replaced: Callable[[float], None] = lambda seconds: None
        """Hears how long it took to replace a process that had ended (s): so long its slot was empty."""

    async def start(self) -> None:
        """Start the processes and wait until each has loaded its plug-ins."""
        atexit.register(self._kill)
        await asyncio.gather(*(self._call(slot.start) for slot in self._slots))
        for slot in self._slots:
            if not slot.healthy():
                await self.close()
                raise RuntimeError(f"a worker process does not start: {slot.fault()}")
            self._free.put_nowait(slot)

    async def run(self, request: RunRequest) -> Outcome:
        """Run one job when a process is free. Raises ``Closed`` if the pool is closed before it is done."""
        slot = await self._free.get()
        if self._closed:
            self._free.put_nowait(slot)
            raise Closed("the workers are stopped")
        exchange = self._call(slot.exchange, request)
        alarm = asyncio.get_running_loop().call_later(request.timeout, slot.kill, Status.TIMED_OUT)
        exchange.add_done_callback(lambda _: self._after(slot, alarm))
        try:
            outcome = await asyncio.shield(exchange)
        except asyncio.CancelledError:
            if not exchange.done():  # else the process is another job's by now
                slot.kill(Status.CRASHED)
            raise
        if self._closed and outcome.status is Status.CRASHED:
            raise Closed("the workers were stopped while the job was running")
        return outcome

    async def close(self) -> None:
        """End all processes at once."""
        self._closed = True
        self._kill()
        await asyncio.to_thread(self._threads.shutdown)
        self._kill()  # one that was just being started
        atexit.unregister(self._kill)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.close()

    def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._threads, lambda: function(*args, **kwargs))

    def _after(self, slot: "_Slot", alarm: asyncio.TimerHandle) -> None:
        """Give the slot back, with a new process if the old one is gone."""
        alarm.cancel()
        if self._closed or slot.healthy():
            self._free.put_nowait(slot)
        else:
            ended = time.monotonic()
            self._call(slot.start).add_done_callback(lambda _: self._replaced(slot, ended))

    def _replaced(self, slot: "_Slot", ended: float) -> None:
        self.on_replaced(time.monotonic() - ended)
        self._free.put_nowait(slot)

    def _kill(self) -> None:
        for slot in self._slots:
            slot.kill(Status.CRASHED)


class _Slot:
    """One process at a time and the pipe to it. All but ``kill`` and ``healthy`` block: call in a thread."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: SpawnProcess | None = None
        self._connection: Connection[RunRequest, Outcome | str] | None = None
        self._fate: Status | None = None

    def start(self) -> None:
        """Start a process; should loading the plug-ins kill it, one that loads them when they are asked for."""
        self._fate = None
        self._restart()

    def _restart(self) -> None:
        if self._fate is not None:
            return
        for setup in (self._setup, Setup(self._setup.environment, self._setup.memory_bytes)):
            self._spawn(setup)
            if self.healthy() or self._fate is not None:
                return

    def exchange(self, request: RunRequest) -> Outcome:
        """Have a request carried out, or tell how that ended the process."""
        started = time.perf_counter()
        try:
            connection = self._hand_over(request)
            outcome = connection.recv()
            return outcome if isinstance(outcome, Outcome) else Outcome(Status.ERROR, reason=outcome)
        except (EOFError, OSError):
            fault = self.fault()
            abandon(request.folder, request.job, request.attempt)
            if self._fate is Status.TIMED_OUT:
                fault = f"stopped after {request.timeout:g} s, the pipeline's time limit"
            seconds = time.perf_counter() - started
            return Outcome(self._fate or Status.CRASHED, reason=f"{request.topic}: {fault}", seconds=seconds)

    def _hand_over(self, request: RunRequest) -> "Connection[RunRequest, Outcome | str]":
        """Have a live process begin with the request: one that died idle is no fault of this job."""
        for attempt in range(_ATTEMPTS):
            if attempt or not self.healthy():
                self._restart()
            if self._connection is None or self._fate is not None:
                break
            try:
                self._connection.send(request)
                self._connection.recv()  # that it has begun
                return self._connection
            except (EOFError, OSError):
                continue
        raise EOFError

    def kill(self, fate: Status) -> None:
        """End the process at once, and say as what this is to count."""
        self._fate = fate
        if self._process is not None:
            end(self._process)

    def healthy(self) -> bool:
        return self._fate is None and self._process is not None and self._process.is_alive()

    def fault(self) -> str:
        """Why the process has ended; ends it if it has not."""
        if self._process is None:
            return "the process was never started"
        self._process.join(1)  # its pipe is closed a moment before it is gone
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        code = self._process.exitcode or 0
        if code >= 0:
            return f"the pipeline ended its process with exit code {code}"
        known = {number.value for number in signal.Signals}
        name = signal.Signals(-code).name if -code in known else f"signal {-code}"
        hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return f"the pipeline crashed its process ({name}{hint})"

    def _spawn(self, setup: Setup) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._connection, theirs = _SPAWN.Pipe()
        with theirs, _without_interrupts():
            process = _SPAWN.Process(target=serve, args=(theirs, setup), name="worker", daemon=True)
            process.start()
        self._process = process  # not before: ``kill`` may come at any time
        try:
            if self._connection.poll(_START_SECONDS):
                self._connection.recv()
                return
        except (EOFError, OSError):
            pass
        process.kill()
        process.join()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """A process started in here does not see Ctrl-C, not even before it can say so itself."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
