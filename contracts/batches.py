"""Batches: what a person submits together. What of it became a job says so itself; the rest is told here."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol
from urllib.parse import quote

import httpx
from pydantic import Field, TypeAdapter

from contracts.client import call
from contracts.models import Model, Text

NAME_LONGEST = 200
"""Characters of a batch's name."""


class What(StrEnum):
    """What became of something submitted that is no job."""

    UNPACKING = "unpacking"
    UNPACKED = "unpacked"
    REFUSED = "refused"


class Entry(Model):
    """Something submitted that is no job: an archive, or what is no image. ``name`` holds its folders."""

    name: Text = ""
    what: What = Field(default=What.REFUSED, strict=False)
    said: Text = ""
    """What came of it, or what is wrong and what to do."""


class Batch(Model):
    """``task`` is the id of the task chosen for all of it; empty: each file goes to the first that wants it."""

    id: Text = ""
    name: Text = ""
    task: Text = ""
    by: Text = ""
    created: int = 0
    """ns since the epoch"""
    counts: Mapping[str, int] = Field(default_factory=dict)
    """Its jobs by state."""
    entries: tuple[Entry, ...] = Field(default=(), strict=False)
    """The first of what is no job."""


ENTRIES: TypeAdapter[list[Entry]] = TypeAdapter(list[Entry])


class Batches(Protocol):
    """The batches as those see them who put files into them."""

    async def get(self, batch_id: str) -> Batch:
        """One. Raises ``NotFound``."""
        ...

    async def tell(self, batch_id: str, entries: Sequence[Entry]) -> None:
        """What became of these, by their names; what was told of them before is over."""
        ...


class HttpBatches:
    """``Batches`` over HTTP. The client's ``base_url`` is the job repository."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def get(self, batch_id: str) -> Batch:
        """One. Raises ``NotFound``."""
        response = await call(self._client, "GET", f"/api/v1/batches/{quote(batch_id, safe='')}")
        return Batch.model_validate_json(response.content)

    async def tell(self, batch_id: str, entries: Sequence[Entry]) -> None:
        """What became of these."""
        body = ENTRIES.dump_json(list(entries), by_alias=True)
        await call(self._client, "PUT", f"/api/v1/batches/{quote(batch_id, safe='')}/entries", content=body)
