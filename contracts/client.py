"""Our services' calls to each other over HTTP: the job and task repositories from elsewhere."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter

from contracts.edge_status import EdgeStatus
from contracts.errors import Away, Unavailable, error_of, told_after
from contracts.events import FACTS, VERDICTS, Fact, Verdict
from contracts.listing import params_of
from contracts.models import Job
from contracts.models_of_pipelines import ModelList, ModelVerdict
from contracts.ports import JobQuery, Page
from contracts.ranges import arrived, digest_of

JOBS = TypeAdapter(list[Job])
COUNTS = TypeAdapter(dict[str, int])
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
AWAY = (502, 503, 504)
"""Statuses of a repository that cannot work now, or of a proxy before one that is away."""


async def call(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
    """A request whose failure is one of our errors: ``Away`` when nobody answers, ``Unavailable`` when the answer came
    damaged. Where no TLS watches over the line, digests of request and answer do (RFC 9530)."""
    if "json" in options:
        options["content"] = json.dumps(options.pop("json")).encode()
    if body := options.get("content"):
        options["headers"] = {"Content-Digest": digest_of(body), "Content-Type": "application/json"}
    try:
        response = await client.request(method, path, **options)
    except httpx.HTTPError as error:
        where = f"{str(client.base_url).rstrip('/')}{path}"
        raise Away(f"{method} {where}: {error or type(error).__name__}") from None
    if not arrived(response.content, response.headers.get("content-digest", "")):
        raise Unavailable(f"the answer to {method} {path} came damaged")
    if response.status_code >= 400:
        words = response.text.strip() or f"{method} {path}: {response.status_code}"
        after = told_after(response.headers)
        if response.status_code in AWAY and after is None:
            raise Away(words)
        raise error_of(response.status_code, words, after)
    return response


class HttpJobs:
    """``contracts.ports.Jobs`` over HTTP. The client's ``base_url`` is the job repository."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def report(self, facts: Sequence[Fact]) -> list[Verdict]:
        """Tell facts; answered when they are committed."""
        body = FACTS.dump_json(list(facts), by_alias=True)
        response = await call(self._client, "POST", "/api/v1/facts", content=body)
        return VERDICTS.validate_json(response.content)

    async def find(self, query: JobQuery) -> Page:
        """A page of jobs."""
        response = await call(self._client, "GET", "/api/v1/job", params=params_of(query))
        following = response.links.get("next", {}).get("url")
        asked = httpx.URL(following).params if following else httpx.QueryParams()
        after, mark = asked.get("after"), asked.get("mark", "")
        return Page(tuple(JOBS.validate_json(response.content)), int(after) if after else None, mark)

    async def get(self, job_id: str) -> Job:
        """One job. Raises ``NotFound``."""
        response = await call(self._client, "GET", f"/api/v1/job/{quote(job_id, safe='')}")
        return Job.model_validate_json(response.content)

    async def epoch(self) -> str:
        """Which restore the repository is of."""
        return (await call(self._client, "GET", "/api/v1/epoch")).text

    async def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return COUNTS.validate_json((await call(self._client, "GET", "/api/v1/counts")).content)

    async def claim(
        self, worker: str, pipelines: Sequence[str], limit: int, seconds: float, retries: int | None = None
    ) -> list[Job]:
        """Lease launched jobs to a worker."""
        body = {"worker": worker, "pipelines": list(pipelines), "limit": limit, "seconds": seconds}
        body |= {} if retries is None else {"retries": retries}
        response = await call(self._client, "POST", "/api/v1/claims", json=body)
        return JOBS.validate_json(response.content)

    async def release(self, worker: str) -> int:
        """Give back what a worker held."""
        response = await call(self._client, "DELETE", f"/api/v1/claims/{quote(worker)}")
        return int(response.json()["Released"])


class HttpTasks:
    """``contracts.ports.Tasks`` over HTTP. The client's ``base_url`` is the task launcher."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def match(self, jobs: Sequence[Job]) -> list[bool]:
        """Whether any task wants each job."""
        body = JOBS.dump_json(list(jobs), by_alias=True)
        response = await call(self._client, "POST", "/api/v1/matchTasks", content=body)
        return [bool(answer) for answer in response.json()]

    async def register(self, worker: str, pipelines: Sequence[Mapping[str, Any]]) -> None:
        """Say that a worker is alive and which pipelines it runs."""
        await call(self._client, "POST", "/api/v1/pipelines", json={"worker": worker, "pipelines": list(pipelines)})


class HttpModels:
    """The gateway's models, for runners. The client's ``base_url`` is the task launcher."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def models(self) -> ModelList:
        """Which there are, and which each pipeline uses."""
        return ModelList.model_validate_json((await call(self._client, "GET", "/api/v1/models")).content)

    async def fetch(self, sha256: str, target: Path) -> None:
        """A model's package. What came is to be checked by whoever uses it."""
        path = f"/api/v1/models/{sha256}/content"
        try:
            async with self._client.stream("GET", path) as answer:
                if answer.status_code >= 400:
                    raise error_of(answer.status_code, (await answer.aread()).decode("utf-8", "replace"), None)
                with target.open("wb") as file:
                    async for piece in answer.aiter_bytes():
                        await asyncio.to_thread(file.write, piece)
        except httpx.HTTPError as error:
            raise Away(f"GET {path}: {error or type(error).__name__}") from None

    async def judge(self, sha256: str, verdict: ModelVerdict) -> None:
        """Say what a trial has shown."""
        body = verdict.model_dump_json(by_alias=True).encode()
        await call(self._client, "POST", f"/api/v1/models/{sha256}/verdict", content=body)


class HttpStatuses:
    """``contracts.edge_status.Statuses`` over HTTP. The client's ``base_url`` is the job repository."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def tell(self, name: str, status: EdgeStatus) -> None:
        """Say how an instrument is."""
        body = status.model_dump_json(by_alias=True).encode()
        await call(self._client, "PUT", f"/api/v1/edges/{quote(name, safe='')}/status", content=body)
