"""The calls about shared memory, which tritonclient's clients over gRPC and over HTTP name alike."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class Sharing(ABC):
    """A part of ``Wire``: to register regions of memory at the server, and to take them back."""

    @property
    @abstractmethod
    def _client(self) -> Any:
        """Of ``tritonclient``."""

    @staticmethod
    @abstractmethod
    async def _told(call: Awaitable[T]) -> T:
        """A call, its errors in the words of ``Wire``."""

    async def share(self, name: str, key: str, size: int) -> None:
        await self._told(self._client.register_system_shared_memory(name, key, size))

    async def unshare(self, name: str) -> None:
        await self._told(self._client.unregister_system_shared_memory(name))

    async def share_cuda(self, name: str, handle: bytes, device: int, size: int) -> None:
        await self._told(self._client.register_cuda_shared_memory(name, handle, device, size))

    async def unshare_cuda(self, name: str) -> None:
        await self._told(self._client.unregister_cuda_shared_memory(name))
