"""Models that pipelines use: what a package of one says of itself, and which one is chosen."""

import re
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from contracts.errors import BadRequest
from contracts.models import Model
from contracts.zips import DAMAGE

METADATA = "metadata.json"
CARD = "CARD.md"
MOST_FILES = 100
MOST_METADATA = 2**20
"""Bytes of ``metadata.json`` and of the card."""
DATA = (".xml", ".bin", ".onnx", ".safetensors", ".json", ".md", ".txt", ".npy", ".csv")
"""Endings of files in a package. None of them is ever run; a pickle (.pt, .pkl) could be."""
BLOCK = 2**20
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_FILE = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]{0,99}/){0,3}[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", re.ASCII)


class Metadata(BaseModel):
    """``metadata.json`` of a model: which pipeline it is for, and the SHA-256 of each of its files. What else stands in
    it is shown to people."""

    model_config = ConfigDict(frozen=True, extra="allow")

    pipeline: Name
    version: Name
    files: dict[str, Sha256] = Field(min_length=1, max_length=MOST_FILES)

    @field_validator("files")
    @classmethod
    def _plain(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            if not _FILE.fullmatch(name) or not name.lower().endswith(DATA):
                raise ValueError(
                    f"{name[:80]!r} is no name of a file in a model: letters, digits, and {' '.join(DATA)}"
                )
        return files


class ModelInfo(Model):
    """A model that the gateway has. ``sha256`` is that of its ``metadata.json``, which names all its files: the same
    digest, the same model."""

    pipeline: str
    version: str
    sha256: str
    state: str
    """``new`` until a runner has tried it, then ``ready`` or ``refused``."""
    reason: str = ""
    """Why it was refused."""
    size: int = 0
    """Bytes of its package."""
    by: str = ""
    at: int = 0
    """Who uploaded it, and when (ns since the epoch)."""
    seconds: float = 0.0
    """One inference of the trial took so long."""
    about: dict[str, Any] = Field(default_factory=dict)
    """Its ``metadata.json`` without the files."""


class Choice(Model):
    """Which model a pipeline uses from its next job on, and whether it takes jobs at all. Empty: its own."""

    pipeline: str
    sha256: str = ""
    version: str = ""
    before: str = ""
    """SHA-256 of the one before, to which a roll-back returns; empty: its own, if ``can_roll_back``."""
    can_roll_back: bool = False
    paused: bool = False


class ModelList(Model):
    """Answer of ``GET /api/v1/models``."""

    models: tuple[ModelInfo, ...] = ()
    choices: tuple[Choice, ...] = ()


class ModelVerdict(Model):
    """Body of ``POST /api/v1/models/{sha256}/verdict``: what came of a runner's trial."""

    good: bool
    reason: Annotated[str, StringConstraints(max_length=1000)] = ""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


def metadata_of(content: bytes) -> Metadata:
    """Raises ``BadRequest`` naming each field that is wrong."""
    try:
        return Metadata.model_validate_json(content)
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, one['loc'])) or METADATA}: {one['msg']}" for one in error.errors(include_url=False)
        ]
        raise BadRequest(f"{METADATA} cannot be used: {'; '.join(wrong[:5])}") from None


class Package:
    """A zip file that holds one model: ``metadata.json`` and the files it names, in one folder. Nothing is believed of
    it that was not looked at; nothing of it is run. Its methods block, and raise ``BadRequest`` with what is wrong and
    what to do."""

    def __init__(self, archive: zipfile.ZipFile, most_bytes: int) -> None:
        """``most_bytes``: of all files together, unpacked."""
        self._archive = archive
        entries = [one for one in archive.infolist() if not one.is_dir()]
        if len(entries) > MOST_FILES + 2:
            raise BadRequest(f"the package holds {len(entries)} files; a model has {MOST_FILES} at most")
        if sum(one.file_size for one in entries) > most_bytes:
            raise BadRequest(f"the model has more than {most_bytes} bytes: set gateway.max_model_mb higher")
        self._entries = _below(_named(entries))
        self.content = self.read(METADATA, MOST_METADATA)
        self.sha256 = sha256(self.content).hexdigest()
        self.metadata = metadata_of(self.content)

    def check(self) -> None:
        """Every file is there, none besides, and each is the one that ``metadata.json`` names."""
        wanted = self.metadata.files
        if missing := sorted(wanted.keys() - self._entries.keys()):
            raise BadRequest(f"{METADATA} names {missing[0]}, which the package does not hold: pack it anew")
        if more := sorted(self._entries.keys() - wanted.keys() - {METADATA, CARD}):
            raise BadRequest(
                f"the package holds {more[0][:80]}, which {METADATA} does not name: leave it out, or name it"
            )
        for name, digest in wanted.items():
            if self._digest(name) != digest:
                raise BadRequest(
                    f"{name} is not the file that {METADATA} names (SHA-256 differs): export the model again"
                )

    def read(self, name: str, most: int) -> bytes:
        """A small file."""
        entry = self._entries.get(name)
        if entry is None:
            raise BadRequest(f"the package holds no {name}: pack the folder of one version of a model")
        if entry.file_size > most:
            raise BadRequest(f"{name} has {entry.file_size} bytes; {most} are the most")
        with _sound(name), self._archive.open(entry) as file:
            return file.read(most)

    def pieces(self, name: str) -> "zipfile.ZipExtFile":
        """A file of the package, to be read to its end."""
        return self._archive.open(self._entries[name])  # type: ignore[return-value]

    def _digest(self, name: str) -> str:
        digest, size = sha256(), 0
        with _sound(name), self.pieces(name) as file:
            while block := file.read(BLOCK):
                digest.update(block)
                size += len(block)
                if size > self._entries[name].file_size:
                    raise BadRequest(f"{name} is larger than the package says")
        return digest.hexdigest()


def opened(file: Any) -> zipfile.ZipFile:
    """Raises ``BadRequest`` for what is no zip file."""
    with _sound("the package"):
        return zipfile.ZipFile(file)


class _sound:  # noqa: N801 - used like a function
    """What a damaged zip file raises is its sender's to mend."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: object) -> None:
        if error is not None and isinstance(error, DAMAGE):
            raise BadRequest(f"{self._what} is no zip file that can be read ({error}): pack it again") from None


def _named(entries: list[zipfile.ZipInfo]) -> Mapping[str, zipfile.ZipInfo]:
    found: dict[str, zipfile.ZipInfo] = {}
    for one in entries:
        if one.external_attr >> 28 == 0o12:
            raise BadRequest(f"{one.filename[:80]!r} is a link: pack the file itself")
        if one.flag_bits & 1:
            raise BadRequest("the package is encrypted: pack it without a password")
        path = PurePosixPath(one.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in one.filename or not one.filename.isprintable():
            raise BadRequest(f"{one.filename[:80]!r} leads out of the package: pack the folder of the model itself")
        if one.filename in found:
            raise BadRequest(f"{one.filename[:80]!r} is in the package twice")
        found[one.filename] = one
    return found


def _below(found: Mapping[str, zipfile.ZipInfo]) -> Mapping[str, zipfile.ZipInfo]:
    """By names below the folder of ``metadata.json``, in which all of them must be."""
    at = sorted((name for name in found if PurePosixPath(name).name == METADATA), key=len)
    start = at[0].removesuffix(METADATA) if at else ""
    if outside := [name for name in found if not name.startswith(start)]:
        raise BadRequest(f"{outside[0][:80]!r} lies outside of the model's folder {start!r}: leave it out")
    return {name.removeprefix(start): one for name, one in found.items()}
