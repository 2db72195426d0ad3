"""The port to wherever models run."""

from typing import Protocol, runtime_checkable

from pipelines.backends.tensors import Answer, Arrays, ModelRef, Signature


class Backend(Protocol):
    """A place where models run. ``load`` and ``infer`` may raise ``Unavailable``. Used from one event loop only."""

    place: str
    """What it is called in messages, such as ``kserve+grpc://triton:8001``."""

    def check(self) -> None:
        """Raises ``Unavailable`` while the place is known to be down; asks nobody. From any thread."""
        ...

    async def load(self, ref: ModelRef) -> Signature:
        """Make sure that the model can be asked, and say what it takes and gives. Raises ``BadModel``."""
        ...

    async def infer(self, ref: ModelRef, inputs: Arrays) -> Answer:
        """Run one batch. Several may be under way. Raises ``BadModel``, ``Mismatch``, ``Refused``, ``TooSlow``."""
        ...

    async def healthy(self) -> bool:
        """Whether the place is there and ready for requests; never raises."""
        ...

    async def close(self) -> None:
        """Let go of connections and models."""
        ...


@runtime_checkable
class Immediate(Protocol):
    """What a backend in this process can do besides: answer a synchronous caller without an event loop."""

    def load_now(self, ref: ModelRef) -> Signature:
        """As ``load``."""
        ...

    def infer_now(self, ref: ModelRef, inputs: Arrays) -> Answer:
        """As ``infer``; from one thread at a time."""
        ...
