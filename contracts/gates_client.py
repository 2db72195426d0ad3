"""The gates that hold, asked of the gateway's map of cells over HTTP."""

import json
from typing import Any

import httpx
from pydantic import ValidationError

from contracts.client import call
from contracts.errors import Unavailable
from contracts.gates import Gate

PATH = "/api/v1/map/gates"


class HttpGates:
    """The client's ``base_url`` is the cell index."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def gates(self) -> tuple[list[Gate], dict[str, str]]:
        """All that can be understood here, in the order of their names; of the others the names, and why not.

        Raises ``AppError`` when they cannot be had, ``Away`` among them.
        """
        content = (await call(self._client, "GET", PATH)).content
        try:
            told = json.loads(content)
        except ValueError:
            told = None
        if not isinstance(told, list):
            raise Unavailable(f"GET {PATH}: the answer is no list of gates; is it a cell index of this version?")
        found: list[Gate] = []
        strange: dict[str, str] = {}
        for one in told:
            try:
                found.append(Gate.model_validate(one))
            except ValidationError as error:
                strange[_name_of(one)] = f"is not understood here ({_first(error)}): install the gateway's version"
        return sorted(found, key=lambda gate: gate.name), strange


def _name_of(one: Any) -> str:
    return str(one.get("Name", "") if isinstance(one, dict) else "")[:100] or "(without a name)"


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
