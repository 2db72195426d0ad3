"""Which segments an index is made of: one small file, replaced as a whole, that vouches for all others."""

import hashlib
import json
import uuid
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.disk import place, room_at
from gateway.vectors.kinds import Kind
from gateway.vectors.port import Damaged

NAME = "manifest.json"
FORMAT = 1


class Frozen(BaseModel):
    """Read strictly: what we do not understand we must not write over."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class File(Frozen):
    """A file of a segment: its bytes, and the CRC-32 of each block of them."""

    name: str
    size: int
    block: int
    checks: tuple[int, ...]


class Card(Frozen):
    """A segment as it was made. ``effort`` reached ``recall`` among its own ten nearest when it was measured."""

    name: str
    count: int
    kind: str
    lists: int = 0
    pieces: int = 0
    effort: int = 1
    recall: float = 1.0
    seconds: float = 0.0
    """To make it."""
    ids: File
    vectors: File
    codes: File | None = None
    deleted: File | None = None
    """Bits of those that were deleted since, by their place."""

    @property
    def form(self) -> Kind:
        return Kind(self.kind, self.lists, self.pieces)


class Manifest(Frozen):
    """``log``: the number of the oldest file of the log that is not in segments; ``following``: no file has this
    number, or a greater one."""

    format: int = FORMAT
    dimension: int
    segments: tuple[Card, ...] = ()
    log: int = 1
    following: int = 2


def read(folder: Path) -> Manifest | None:
    """What was written last; None in a new folder. Raises ``Damaged``."""
    path = folder / NAME
    remedy = "put it back from a copy of the folder, or remove the folder and embed the cells again"
    try:
        said = json.loads(path.read_bytes())
        text = said["manifest"]
        if hashlib.sha256(text.encode()).hexdigest() != said["sha256"]:
            raise Damaged(f"{path} is not as it was written: {remedy}")
        return Manifest.model_validate_json(text)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise Damaged(f"{path} cannot be read ({str(error).splitlines()[0]}): {remedy}") from None


def write(folder: Path, manifest: Manifest) -> None:
    """Replace it, durably, as a whole or not at all."""
    text = manifest.model_dump_json()
    body = json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "manifest": text})
    temporary = folder / f".{uuid.uuid4().hex}.part"
    try:
        with room_at(temporary):
            temporary.write_text(body)
        place(temporary, folder / NAME)
    finally:
        temporary.unlink(missing_ok=True)
