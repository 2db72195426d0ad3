"""An index that another process keeps (see ``gateway.cells.shards``)."""

from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np

from contracts.errors import AppError, Away, error_of, told_after
from gateway.vectors.port import Found, Ids, IdSet, Mask, Vectors
from gateway.vectors.wire import MEDIA, Arrays, packed, unpacked


class RemoteIndex:
    """Implements ``VectorIndex`` by asking a cell index of another process, over HTTP."""

    def __init__(self, client: httpx.Client, space: str, dimension: int) -> None:
        """The client's ``base_url`` is the process; ``space`` is the name of what it keeps (a model's version)."""
        self._client, self._space, self._dimension = client, space, dimension

    @property
    def dimension(self) -> int:
        return self._dimension

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """See ``VectorIndex``."""
        self._ask("add", {"ids": ids, "vectors": vectors})

    def search(self, queries: Vectors, k: int, among: IdSet | None = None) -> Found:
        """See ``VectorIndex``."""
        only = {} if among is None else {"among": among.bits}
        arrays, _ = self._ask("search", {"queries": queries, **only}, k=k)
        return Found(arrays["ids"], arrays["scores"])

    def get(self, ids: Ids) -> tuple[Vectors, Mask]:
        """See ``VectorIndex``."""
        arrays, _ = self._ask("get", {"ids": ids})
        return arrays["vectors"], arrays["known"].astype(np.bool_)

    def delete(self, ids: Ids) -> int:
        """See ``VectorIndex``."""
        return int(self._ask("delete", {"ids": ids})[1]["count"])

    def count(self) -> int:
        return int(self.about()["count"])

    def about(self) -> Mapping[str, Any]:
        """See ``VectorIndex``."""
        return self._ask("about", {})[1]

    def close(self) -> None:
        """The other process keeps it open; the client belongs to whoever made it."""

    def _ask(self, what: str, arrays: Arrays, **said: object) -> tuple[dict[str, Any], dict[str, Any]]:
        body = packed(arrays, space=self._space, dimension=self._dimension, **said)
        try:
            answer = self._client.post(f"/api/v1/vectors/{what}", content=body, headers={"Content-Type": MEDIA})
        except httpx.HTTPError as error:
            raise Away(
                f"the shard at {self._client.base_url} does not answer: {error or type(error).__name__}"
            ) from None
        if not answer.is_success:
            raise self._error(answer)
        return unpacked(answer.content)

    def _error(self, answer: httpx.Response) -> AppError:
        words = f"the shard at {self._client.base_url}: {answer.text.strip()[:500]}"
        return error_of(answer.status_code, words, told_after(answer.headers))
