"""Tells servers to load and unload models. Requests under way are finished; those to come meet the new version."""

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from pipelines.backends.errors import BadModel, Refused, Unavailable

LOADING = 600.0
"""Seconds that a load may take."""


class _Control:
    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """``url``: of the server's HTTP port, such as ``http://127.0.0.1:8000``."""
        self.place = url.rstrip("/")
        self._client = httpx.AsyncClient(
            base_url=self.place, timeout=httpx.Timeout(10, read=LOADING), transport=transport, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def _ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        try:
            return await self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise Unavailable(f"waits for the model server {self.place}, which does not answer") from error


class TritonControl(_Control):
    """A Triton that was started with ``--model-control-mode=explicit``."""

    async def load(self, name: str, config: Mapping[str, Any] | None = None) -> None:
        """Load a model, or load it anew from its folder: the old version serves until the new one is ready.

        ``config`` replaces its ``config.pbtxt``. Raises ``BadModel`` with what the server says.
        """
        body = {"parameters": {"config": json.dumps(config)}} if config is not None else {}
        answer = await self._ask("POST", f"/v2/repository/models/{name}/load", body)
        if answer.is_error:
            raise BadModel(f"model {name!r} cannot be loaded at {self.place}: {_said(answer)}")

    async def unload(self, name: str) -> None:
        """Unload a model once its requests are answered; ensembles that use it go with it."""
        answer = await self._ask("POST", f"/v2/repository/models/{name}/unload", {})
        if answer.is_error:
            raise Refused(f"model {name!r} cannot be unloaded at {self.place}: {_said(answer)}")

    async def index(self) -> list[dict[str, Any]]:
        """What the repository holds: name, version, state, reason."""
        answer = await self._ask("POST", "/v2/repository/index", {})
        if answer.is_error:
            raise Refused(f"{self.place} does not tell its models: {_said(answer)}")
        return list(answer.json())


class OvmsControl(_Control):
    """An OpenVINO Model Server that was started with ``--config_path``."""

    async def reload(self) -> bool:
        """Have ``config.json`` and the folders read anew; whether anything was changed."""
        answer = await self._ask("POST", "/v1/config/reload")
        if answer.is_error:
            raise BadModel(f"{self.place} cannot load what its config.json names: {_said(answer)}")
        return answer.status_code == 201

    async def status(self) -> dict[str, Any]:
        """The versions of each model with their states."""
        answer = await self._ask("GET", "/v1/config")
        if answer.is_error:
            raise Refused(f"{self.place} does not tell its models: {_said(answer)}")
        return dict(answer.json())


def _said(answer: httpx.Response) -> str:
    try:
        said = answer.json()
    except ValueError:
        return answer.text[:300]
    return str(said.get("error", said))[:300] if isinstance(said, dict) else str(said)[:300]
