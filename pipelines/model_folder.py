"""A model as it lies on the disk: its files, and the metadata that describe them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.backends.errors import BadModel


class BrokenModel(BadModel):
    """A model's files are missing or not those that were described when it was exported."""


@dataclass(frozen=True)
class ModelFolder:
    """One version of a model: ``metadata.json`` and, for each precision, ``model.xml`` and ``model.bin``."""

    path: Path

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """What the exporter wrote down. Raises ``BrokenModel``."""
        try:
            content: Mapping[str, Any] = json.loads((self.path / "metadata.json").read_bytes())
        except (OSError, ValueError) as error:
            raise BrokenModel(f"{self.path}: no readable metadata.json ({error}); export the model again") from error
        return content

    @cached_property
    def sha256(self) -> str:
        """Of ``metadata.json``, which names all other files: the same digest, the same model."""
        return hashlib.sha256((self.path / "metadata.json").read_bytes()).hexdigest()

    def read(self, name: str) -> bytes:
        """The bytes of a file, such as ``fp32/model.xml``. Raises ``BrokenModel`` if they were changed."""
        described = self.metadata["files"].get(name)
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise BrokenModel(f"{self.path}: {name} cannot be read ({error}); export the model again") from error
        if hashlib.sha256(content).hexdigest() != described:
            raise BrokenModel(f"{self.path}: {name} is not the file that metadata.json describes")
        return content
