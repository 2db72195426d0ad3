"""Calls a BentoML service over HTTP. Any will do whose route is called as the model and takes arrays by name.

Arrays go as JSON, which is all that every bento takes without pickles: fit for small pictures. An output that is no
object of named arrays is called ``output``; a field ``version`` that can have one value only is the model's version.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx
import numpy as np

from pipelines.backends.address import Address
from pipelines.backends.errors import BadModel, Mismatch, Refused
from pipelines.backends.patience import NoAnswer, Patience
from pipelines.backends.tensors import Answer, Arrays, ModelRef, Signature, Tensor, check_inputs

NOT_NOW = (429, 502, 503, 504)
HEALTH_SECONDS = 2.0
ONLY = "output"


class Bento:
    """Models at such a service."""

    def __init__(self, address: Address, patience: Patience) -> None:
        self._patience, self.place = patience, patience.place
        patience.alive = self.healthy
        host = f"[{address.host}]" if ":" in address.host else address.host
        url = f"{address.scheme.removeprefix('bentoml+')}://{host}:{address.port}"
        # ``Patience`` knows when to stop waiting.
        self._client = httpx.AsyncClient(base_url=url, timeout=None, trust_env=False)
        self._loaded: dict[ModelRef, Signature] = {}

    def check(self) -> None:
        """Raises ``Unavailable`` while the server is known to be down."""
        self._patience.check()

    async def load(self, ref: ModelRef) -> Signature:
        """The service's own description. Raises ``BadModel``."""
        answer = await self._ask(ref, "GET", "/schema.json")
        try:
            routes = {one["route"]: one for one in answer.json()["routes"]}
        except (ValueError, LookupError, TypeError) as error:
            raise BadModel(f"{self.place} is no BentoML service: it does not describe its routes") from error
        if f"/{ref.name}" not in routes:
            raise BadModel(f"{ref} is not at {self.place}, which has {', '.join(routes)}; set ?model= to one of them")
        route = routes[f"/{ref.name}"]
        try:
            output, takes = route["output"], route["input"].get("properties", {})
            fields = output.get("properties") or {ONLY: output}
        except (LookupError, AttributeError) as error:
            raise BadModel(
                f"{ref} at {self.place} is not described as by BentoML; serve it with 1.4 or later"
            ) from error
        version = str(fields.get("version", {}).get("const", ""))
        if ref.version not in ("", version):
            raise BadModel(f"{ref} is not at {self.place}, which has version {version or 'unknown'} of it; serve that")
        signature = Signature(
            _tensors(ref, takes),
            _tensors(ref, {name: one for name, one in fields.items() if one.get("type") == "tensor"}),
            (version,) if version else (),
        )
        self._loaded[ref] = signature
        return signature

    async def infer(self, ref: ModelRef, inputs: Arrays) -> Answer:
        """One request."""
        signature = self._loaded.get(ref) or await self.load(ref)
        try:
            check_inputs(ref, signature, inputs)
        except Mismatch:
            self._loaded.pop(ref, None)
            raise
        body = {name: array.tolist() for name, array in inputs.items()}
        answer = await self._ask(ref, "POST", f"/{ref.name}", body)
        if answer.status_code == 404:
            self._loaded.pop(ref, None)
            raise BadModel(f"{ref} is not at {self.place} any more; set ?model= to one that is")
        if answer.is_error:
            self._loaded.pop(ref, None)
            raise Refused(f"{ref} at {self.place} has refused the request: {answer.text[:300]}")
        return _answer(ref, self.place, signature, answer)

    async def healthy(self) -> bool:
        """Whether the service says that it is ready."""
        try:
            answer = await self._client.get("/readyz", timeout=HEALTH_SECONDS)
        except httpx.TransportError:
            return False
        return answer.is_success

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def _ask(self, ref: ModelRef, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self._patience.call(str(ref), partial(self._once, method, path, body))

    async def _once(self, method: str, path: str, body: Any) -> httpx.Response:
        try:
            answer = await self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise NoAnswer(str(error)) from error
        if answer.status_code in NOT_NOW:
            raise NoAnswer(f"HTTP {answer.status_code}")
        return answer


def _answer(ref: ModelRef, place: str, signature: Signature, answer: httpx.Response) -> Answer:
    try:
        said = answer.json()
        fields = said if isinstance(said, Mapping) else {ONLY: said}
        outputs = {one.name: np.array(fields[one.name], one.dtype) for one in signature.outputs}
    except (LookupError, ValueError, TypeError) as error:
        raise Refused(f"{ref} at {place} gave what is not what it described: {error}") from error
    return Answer(outputs, str(fields.get("version", "")))


def _tensors(ref: ModelRef, fields: Mapping[str, Mapping[str, Any]]) -> tuple[Tensor, ...]:
    tensors = []
    for name, one in fields.items():
        if one.get("type") != "tensor" or not one.get("dtype"):
            raise Mismatch(f"{ref}: {name!r} is no array of a known type; say it in the service (DType)")
        dim = one.get("dim")
        shape = None if dim is None else tuple(side if isinstance(side, int) and side >= 0 else None for side in dim)
        tensors.append(Tensor(name, one["dtype"], shape))
    return tuple(tensors)
