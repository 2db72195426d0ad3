"""What submission decides: names, what is an image, which archives are too much. No I/O."""

import re
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from contracts.disk import barred
from contracts.errors import BadRequest

JOBS = UUID("7b1e5f0a-9d0c-5a38-8f3a-51d2b6c0e9d4")
"""The namespace of submitted jobs' ids."""
DEEPEST, LONGEST_FOLDER = 32, 1000
HEAD = 512
"""First bytes by which an image is known."""
UNASKED = frozenset({"thumbs.db", "desktop.ini", ".ds_store", "__macosx"})
"""What systems put into archives and folders that nobody wants processed."""
SIGNS: tuple[tuple[int, bytes], ...] = (
    *((0, sign) for sign in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),  # TIFF, and its form for more than 4 GB
    *((0, sign) for sign in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"SIMPLE  =")),  # FITS
    *((0, sign) for sign in (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"\x89HDF\r\n\x1a\n", b"NRRD000")),
    *(
        (0, sign) for sign in (b"ZISRAWFILE", b"\xda\xce\xbe\x0a", b"\x70\0\0\0", b"\xd0\xcf\x11\xe0")
    ),  # CZI ND2 LIF OIB
    (8, b"WEBP"),
    (128, b"DICM"),
)


class Refused(BadRequest):
    """Something submitted that can become no job, and why."""


@dataclass(frozen=True)
class Limits:
    """Of one archive."""

    entries: int = 20_000
    bytes: int = 200 * 10**9
    """of all that is in it, unpacked"""
    ratio: int = 200
    """bytes that come of one, where much comes"""
    free: int = 100 * 10**6
    """bytes that may come whatever their ratio: a black image is packed well"""


def job_id_of(batch: str, folder: str, name: str, sha256: str) -> str:
    """The same for the same content under the same name in the same batch, however often it comes."""
    return str(uuid5(JOBS, "\0".join((batch, folder, name, sha256))))


def placed(path: str) -> tuple[str, str]:
    """Folder (levels joined by ``/``; '' for none) and name of what was submitted as ``path``. Raises ``Refused``
    naming what is wrong with it."""
    levels = [level for level in re.split(r"[/\\]", path) if level not in ("", ".")]
    if not levels or re.match(r"([A-Za-z]:)?[/\\]", path) or ".." in levels:
        raise Refused(f"{path[:200]!r} leads elsewhere: submit it under a plain name")
    for level in levels:
        # Results are downloaded on any system.
        if reason := barred(level, windows=True) or _unprintable(level):
            raise Refused(reason)
    folder = "/".join(levels[:-1])
    if len(levels) > DEEPEST or len(folder.encode()) > LONGEST_FOLDER:
        raise Refused(f"{path[:80]!r}… lies too deep: give it fewer or shorter folders")
    return folder, levels[-1]


def _unprintable(level: str) -> str:
    return "" if level.isprintable() else f"{level[:80]!r} holds signs that cannot be shown: rename the file"


def is_archive(name: str) -> bool:
    """Whether it is to be unpacked."""
    return name.lower().endswith(".zip")


def is_unasked(path: str) -> bool:
    """Whether nobody meant to submit it: hidden files, and what systems add by themselves."""
    levels = [level.lower() for level in re.split(r"[/\\]", path)]
    return any(level in UNASKED or level.startswith("._") for level in levels)


def is_image(head: bytes) -> bool:
    """Whether a file that begins so is one of the kinds of image there are in laboratories."""
    return any(head[at : at + len(sign)] == sign for at, sign in SIGNS)


def check_archive(entries: int, unpacked: int, packed: int, limits: Limits) -> None:
    """Raises ``Refused`` for an archive of which too much would come."""
    if entries > limits.entries:
        raise Refused(f"the archive has {entries} entries, and {limits.entries} are the most: split it")
    if unpacked > limits.bytes:
        raise Refused(f"the archive holds {unpacked} bytes, and {limits.bytes} are the most: split it")
    if unpacked > limits.free and unpacked > limits.ratio * max(packed, 1):
        raise Refused(
            f"{packed} bytes would become {unpacked}: that is taken for a trap; submit the files by themselves"
        )


def wanted(infos: Sequence[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """The entries that somebody meant to submit."""
    return [info for info in infos if not info.is_dir() and not is_unasked(info.filename)]


def check_entry(info: zipfile.ZipInfo) -> tuple[str, str]:
    """Folder and name of an archive's entry. Raises ``Refused`` for one that is not unpacked."""
    folder, name = placed(info.filename)
    if info.flag_bits & 0x1:
        raise Refused("it is encrypted: pack it without a password")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind and kind != stat.S_IFREG:
        raise Refused("it is a link or a device, no file: pack the file itself")
    if is_archive(name):
        raise Refused("an archive within an archive is not unpacked: submit it by itself")
    if info.file_size == 0:
        raise Refused("it is empty")
    return folder, name
