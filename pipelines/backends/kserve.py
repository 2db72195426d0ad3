"""Open Inference Protocol v2, as OpenVINO Model Server and Triton both speak it.

Only the seven calls that both have are used; shared memory, which Triton adds, where the server says that it has it.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from pipelines.backends.errors import BadModel, Mismatch, Refused
from pipelines.backends.patience import NoAnswer, Patience
from pipelines.backends.tensors import Answer, Arrays, ModelRef, Signature, Tensor, check_inputs

if TYPE_CHECKING:
    from pipelines.backends.kserve_memory import Memory
    from pipelines.backends.kserve_shm import SharedMemory

log = logging.getLogger(__name__)
HEALTH_SECONDS = 2.0


class NotFound(Exception):
    """The server has no such model or version. For wires to raise."""


class Rejected(Exception):
    """The server has refused the request. For wires to raise."""


class Wire(Protocol):
    """gRPC or HTTP. All calls raise ``NoAnswer``, ``TimeoutError``, ``NotFound`` or ``Rejected``, and nothing else."""

    same_host: bool
    """Whether the server seems to be on this machine."""

    def input(self, name: str, shape: Sequence[int], datatype: str) -> Any:
        """A ``tritonclient`` input for ``infer``."""
        ...

    def output(self, name: str) -> Any:
        """A ``tritonclient`` output for ``infer``."""
        ...

    async def ready(self) -> bool: ...

    async def server(self) -> Mapping[str, Any]: ...

    async def model(self, name: str, version: str) -> Mapping[str, Any]: ...

    async def infer(
        self, ref: ModelRef, inputs: Sequence[Any], outputs: Sequence[Any] | None
    ) -> tuple[str, Mapping[str, Any], Any]:
        """The version, what is said of each output by name, and the ``tritonclient`` result with their numbers."""
        ...

    async def share(self, name: str, key: str, size: int) -> None:
        """Register a region of shared memory."""
        ...

    async def unshare(self, name: str) -> None: ...

    async def share_cuda(self, name: str, handle: bytes, device: int, size: int) -> None:
        """Register a region of a GPU's memory by CUDA's handle of it."""
        ...

    async def unshare_cuda(self, name: str) -> None: ...

    async def close(self) -> None: ...


class KServe:
    """Models at a server of the protocol."""

    def __init__(self, wire: Wire, patience: Patience, memory: "Memory | None" = None) -> None:
        """``memory``: by which pictures go where the server can; None: always over the wire."""
        self._wire, self._patience = wire, patience
        patience.alive = self.healthy
        self.place = patience.place
        self._signatures: dict[ModelRef, Signature] = {}
        self._memory = memory
        self._shared: SharedMemory | None = None

    def check(self) -> None:
        """Raises ``Unavailable`` while the server is known to be down."""
        self._patience.check()

    async def load(self, ref: ModelRef) -> Signature:
        """The server's own description. Raises ``BadModel`` where it has no such model, or not this version."""
        try:
            said = await self._ask(str(ref), partial(self._wire.model, ref.name, ref.version))
        except NotFound as error:
            raise BadModel(await self._absent(ref, error)) from error
        except Rejected as error:
            raise BadModel(f"{ref} at {self.place} cannot be used: {error}; see the server's log") from error
        if not said.get("inputs") or not said.get("outputs"):
            raise BadModel(f"{ref} at {self.place}: no inputs and outputs are described; is it of KServe v2?")
        versions = tuple(sorted(map(str, said.get("versions") or ()), key=_by_number))
        if ref.version and versions and ref.version not in versions:
            raise BadModel(f"{ref} is not at {self.place}, which has {', '.join(versions)}; {_REMEDY}")
        signature = Signature(
            _tensors(ref, said["inputs"]), _tensors(ref, said["outputs"]), (ref.version,) if ref.version else versions
        )
        await self._agree_on_sharing()
        self._signatures[ref] = signature
        return signature

    async def infer(self, ref: ModelRef, inputs: Arrays) -> Answer:
        """One request; the server may put several together."""
        signature = self._signatures.get(ref) or await self.load(ref)
        try:
            check_inputs(ref, signature, inputs)
            answer: Answer = await self._ask(str(ref), partial(self._infer, ref, inputs))
            return answer
        except NotFound as error:
            self._signatures.pop(ref, None)
            raise BadModel(await self._absent(ref, error)) from error
        except (Rejected, Mismatch) as error:
            self._signatures.pop(ref, None)  # perhaps it is another model by now
            if isinstance(error, Mismatch):
                raise
            raise Refused(f"{ref} at {self.place} has refused the request: {error}") from error

    async def healthy(self) -> bool:
        """Whether the server says that it is ready."""
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                return await self._wire.ready()
        except (NoAnswer, TimeoutError, NotFound, Rejected):
            return False

    async def close(self) -> None:
        """Close connections and shared memory."""
        if self._shared is not None:
            await self._shared.close()
        await self._wire.close()

    async def _ask(self, what: str, act: Any) -> Any:
        return await self._patience.call(what, act)

    async def _infer(self, ref: ModelRef, inputs: Arrays) -> Answer:
        if self._shared is not None:
            return await self._shared.infer(ref, inputs)
        return await plain(self._wire, ref, inputs)

    async def _agree_on_sharing(self) -> None:
        if self._memory is None or self._shared is not None:
            return
        from pipelines.backends.kserve_shm import SharedMemory

        try:
            said = await self._ask("the server's description", self._wire.server)
        except (NotFound, Rejected):  # something between us and the server, say: it does without
            said = {}
        if self._shared is not None or self._memory is None:  # another has agreed meanwhile
            return
        if self._memory.extension in (said.get("extensions") or ()):
            self._shared = SharedMemory(self._wire, self._memory)
            await self._shared.tidy()
        else:
            log.info("%s has no %s, pictures go over the wire", self.place, self._memory.extension)
            self._memory = None

    async def _absent(self, ref: ModelRef, error: NotFound) -> str:
        """What there is instead, if the server tells."""
        there = ""
        if ref.version:
            try:
                said = await self._wire.model(ref.name, "")
                there = f", which has version {', '.join(said.get('versions') or ['?'])}"
            except (NoAnswer, TimeoutError, NotFound, Rejected):
                pass
        return f"{ref} is not at {self.place}{there} ({error}); {_REMEDY}"


_REMEDY = (
    "put it into the server's model repository and load it (its log says why it could not be), or set ?model= and "
    "?version= to one that is there"
)


async def plain(wire: Wire, ref: ModelRef, inputs: Arrays, outputs: Sequence[Any] | None = None) -> Answer:
    """One request whose pictures go over the wire."""
    version, said, result = await wire.infer(
        ref, [filled(wire, name, array) for name, array in inputs.items()], outputs
    )
    return Answer({name: result.as_numpy(name) for name in said}, version)


def filled(wire: Wire, name: str, array: Any) -> Any:
    """An input with its numbers in it."""
    given = wire.input(name, array.shape, np_to_triton_dtype(array.dtype))
    given.set_data_from_numpy(array)
    return given


def _tensors(ref: ModelRef, said: Sequence[Mapping[str, Any]]) -> tuple[Tensor, ...]:
    tensors = []
    for one in said:
        kind = triton_to_np_dtype(one["datatype"])
        if kind is None:
            raise Mismatch(
                f"{ref}: {one['name']!r} is of type {one['datatype']}, which numpy has not; export it as FP32"
            )
        name = "object" if kind is object else kind.__name__.rstrip("_")
        shape = tuple(int(side) if int(side) >= 0 else None for side in one.get("shape") or ())
        tensors.append(Tensor(one["name"], name, shape))
    return tuple(tensors)


def _by_number(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdecimal() else (-1, version)
