"""What doctor sees over the network: the bus, services, tasks and jobs."""

import asyncio
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx

from compose.operate import EDGE, client_for, running_here
from compose.running import GATEWAY, PIPELINES
from compose.settings import Settings, without_password
from contracts import selectors
from contracts.bus.opening import open_bus
from contracts.client import HttpJobs, call
from contracts.errors import AppError
from contracts.models import State
from contracts.ports import Delivery, JobQuery

GONE = 120.0
"""Seconds of silence after which a runner of pipelines is missed."""
PATIENCE = 10.0
"""Seconds that a message may take over the bus and back."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``bad`` asks for a hand, ``remedy`` says which."""

    what: str
    seen: str
    remedy: str = ""

    @property
    def bad(self) -> bool:
        return bool(self.remedy)


async def bus(settings: Settings) -> list[Finding]:
    """Whether a message comes back from the bus, and how fast."""
    if settings.bus_url.startswith("local"):
        return []
    where, word, heard = without_password(settings.bus_url), uuid.uuid4().bytes, asyncio.Event()

    async def hear(delivery: Delivery) -> None:
        if delivery.payload == word:
            heard.set()

    try:
        async with (
            asyncio.timeout(PATIENCE),
            open_bus(settings.bus_url, instance=settings.on_bus(f"doctor-{os.getpid()}"), lasting=False) as carrier,
            carrier.subscribe(f"doctor-{uuid.uuid4().hex[:8]}", {"cytobus/doctor": hear}),
        ):
            started = time.perf_counter()
            await carrier.publish("cytobus/doctor", word)
            await heard.wait()
            taken = time.perf_counter() - started
    except (AppError, TimeoutError, ValueError, OSError) as error:
        why = str(error) or f"no message came back within {PATIENCE:.0f} s"
        return [Finding("bus", f"{where}: {why}", "start the broker, or correct bus_url (host, port, password)")]
    return [Finding("bus", f"{where}: there and back in {taken * 1e3:.1f} ms")]


def expected(settings: Settings) -> list[str]:
    """The services that should be reached from here: those that run here, and those which they call."""
    here = running_here(settings)
    if not here:
        return [*EDGE, *GATEWAY, PIPELINES]
    return list(dict.fromkeys([*here, *GATEWAY]))


async def services(settings: Settings) -> list[Finding]:
    names = expected(settings)
    return list(await asyncio.gather(*(_service(settings, name) for name in names)))


async def _service(settings: Settings, name: str) -> Finding:
    async with client_for(settings, name) as client:
        try:
            answer = await client.get("/api/v1/health", timeout=5.0)
            health = answer.json()
            if health.get("service") != name:
                raise ValueError("another program answers")
        except httpx.HTTPError:
            remedy = "start it, or correct where it is looked for" if name != PIPELINES else ""
            return Finding(name, f"does not answer at {client.base_url}", remedy)
        except (ValueError, AttributeError):
            remedy = "another program has this port: stop it, or set port_offset"
            return Finding(name, f"{client.base_url} is not ours", remedy)
    troubles = "; ".join(f"{desk}: {words}" for desk, words in health["troubles"].items())
    skew = _skew(answer.headers.get("date", ""))
    remedy = "set both clocks by NTP" if abs(skew) > 60 else ""
    return Finding(name, troubles or "runs", remedy or ("see its log" if troubles else ""))


def _skew(date: str) -> float:
    """Seconds by which the peer's clock is ahead."""
    return parsedate_to_datetime(date).timestamp() - time.time() if date else 0.0


async def tasks(settings: Settings) -> list[Finding]:
    async with client_for(settings, "task-launcher") as client:
        try:
            answer = await call(client, "GET", "/api/v1/task")
            listed = (await call(client, "GET", "/api/v1/pipelines")).json()
        except AppError:
            return []
    alive = {pipeline["subscriptionTopic"]: time.time() - int(pipeline["lastSeen"]) / 1e9 for pipeline in listed}
    if answer.status_code == 204:
        return [Finding("tasks", "none", "register one, or no image will go anywhere: cytobus tasks add --help")]
    return [_task(task, alive) for task in answer.json()]


def _task(task: dict[str, str], alive: Mapping[str, float]) -> Finding:
    what, topic = f"task {task['Description'][:40]}", task["PipelineId"]
    try:
        selectors.check(task["JobSelector"])
    except selectors.BadSelector as error:
        return Finding(what, f"its rule cannot be used: {error}", "correct or delete the task")
    if topic not in alive:
        return Finding(what, f"no runner of ours has pipeline {topic}; it goes out on the bus")
    if alive[topic] > GONE:
        return Finding(what, f"the runner of {topic} was last heard of {alive[topic]:.0f} s ago", "start it again")
    return Finding(what, f"goes to {topic}")


async def stuck(settings: Settings) -> list[Finding]:
    found = []
    async with client_for(settings, "job-repository") as client:
        try:
            page = await HttpJobs(client).find(JobQuery(states=(State.QUARANTINED,), limit=5))
            counts = (await call(client, "GET", "/api/v1/counts")).json()
        except AppError:
            return []
    for job in page.jobs:
        remedy = f"mend the cause, then: cytobus jobs release {job.id}"
        found.append(Finding(f"quarantined {job.input_file.name[:40]}", job.reason, remedy))
    return [Finding("jobs", ", ".join(f"{n} {state}" for state, n in sorted(counts.items())) or "none yet"), *found]
