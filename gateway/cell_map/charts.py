"""What the gateway asks of those who know maps: where vectors lie on the newest one, and for a newer one."""

from dataclasses import dataclass
from typing import Protocol

from gateway.cell_map.rules import Floats


@dataclass(frozen=True)
class Charted:
    """Where vectors lie: ``places`` (n, 2) and ``novelty`` (n), their distance from all that the map knows."""

    version: int
    places: Floats
    novelty: Floats


@dataclass(frozen=True)
class Drift:
    """Of the last ``seen`` cells ``far`` lie off the map; ``drifted``: so many that it is time for a new one."""

    far: int
    seen: int
    drifted: bool


class Charts(Protocol):
    """The maps of models, by the version that is in tables of cells. Version 0 of a map is that which came with the
    model: its places stand in the tables. All but ``refit`` blocks, and may be called from several threads."""

    def version(self, model: str) -> int:
        """Of the newest map that was published."""
        ...

    def placed(self, model: str, vectors: Floats) -> Charted | None:
        """By the newest map; None while that is version 0."""
        ...

    def drift(self, model: str, vectors: Floats) -> Drift | None:
        """None: no map of this model is known here. Raises ``AppError`` with the remedy where it cannot be measured."""
        ...

    async def refit(self, model: str, vectors: Floats) -> None:
        """Publish a map of the old reference set and of these vectors, laid over the newest one, all of it or nothing.
        Raises ``AppError`` with the remedy."""
        ...


class NoCharts:
    """Places as they stand in the tables, for ever."""

    def version(self, _model: str) -> int:
        return 0

    def placed(self, _model: str, _vectors: Floats) -> Charted | None:
        return None

    def drift(self, _model: str, _vectors: Floats) -> Drift | None:
        return None

    async def refit(self, _model: str, _vectors: Floats) -> None:
        """Nothing to do."""
