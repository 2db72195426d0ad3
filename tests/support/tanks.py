"""A disk whose free space the test turns."""

from pathlib import Path

from contracts.room import MB


class Tank:
    """``free_mb`` on every path, or on those named."""

    def __init__(self, free_mb: float = 10_000, **by_folder: float) -> None:
        self.free_mb, self.by_folder = free_mb, by_folder

    def free(self, path: Path) -> int:
        return int(self.by_folder.get(path.name, self.free_mb) * MB)
