"""Reads archives that people submit, entry by entry, whatever is in them. Everything here blocks."""

import hashlib
import os
import struct
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.disk import BLOCK, sync_file
from contracts.zips import DAMAGE
from gateway.file_receiver.store import usable
from gateway.submission.rules import HEAD, Limits, Refused, check_archive, is_image, wanted

END, END64, LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
FARTHEST = 2**16 + 22
"""Bytes from the end within which a directory's end is found."""
DIRECTORY = 64 * 2**20
"""Bytes of a directory at most: all of it is held in memory."""


@dataclass(frozen=True)
class Unpacked:
    """A file that came out of an archive and lies aside, synced."""

    path: Path
    sha256: str
    size: int


@contextmanager
def opened(path: Path, limits: Limits) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """The archive, and those of its entries that somebody meant to submit. Raises ``Refused`` for what is none, or of
    which too much would come; nothing is unpacked before that is known."""
    with path.open("rb") as file:
        _check_directory(file.fileno(), limits)
        try:
            archive = zipfile.ZipFile(file)
        except DAMAGE as error:
            raise Refused(f"it is no archive that can be read ({error}): pack it anew") from None
        with archive:
            infos = archive.infolist()
            check_archive(len(infos), sum(info.file_size for info in infos), path.stat().st_size, limits)
            yield archive, wanted(infos)


def _check_directory(handle: int, limits: Limits) -> None:
    """Looks at the directory's size before it is read (PKWARE's APPNOTE, 4.3.14 to 4.3.16)."""
    size = os.fstat(handle).st_size
    start = max(0, size - FARTHEST)
    os.lseek(handle, start, os.SEEK_SET)
    tail = os.read(handle, FARTHEST)
    at = tail.rfind(END)
    if at < 0 or len(tail) < at + 22:
        raise Refused("it is no zip archive, or not all of it: pack it anew")
    entries, length = struct.unpack_from("<HI", tail, at + 10)
    if entries == 0xFFFF or length == 0xFFFFFFFF:
        if at < 20 or tail[at - 20 : at - 16] != LOCATOR:
            raise Refused("its directory cannot be read: pack it anew")
        (where,) = struct.unpack_from("<Q", tail, at - 12)
        os.lseek(handle, min(where, size), os.SEEK_SET)
        record = os.read(handle, 56)
        if record[:4] != END64 or len(record) < 56:
            raise Refused("its directory cannot be read: pack it anew")
        entries, length = struct.unpack_from("<QQ", record, 32)
    os.lseek(handle, 0, os.SEEK_SET)
    check_archive(entries, 0, size, limits)
    if length > DIRECTORY:
        raise Refused(f"its directory has {length} bytes, and {DIRECTORY} are the most: split it")


def unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path) -> Unpacked:
    """One entry, as a file aside in ``folder``. No more comes of it than its directory entry says.

    Raises ``Refused`` for what is damaged or no image; errors of the disk as the receiver's store does.
    """
    path = folder / f"{uuid.uuid4().hex}.new"
    try:
        return _copied(archive, info, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _copied(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Unpacked:
    digest, size = hashlib.sha256(), 0
    blocks = _blocks(archive, info)
    with usable(path.parent), path.open("xb") as file:
        for block in blocks:
            if not size and not is_image(block[:HEAD]):
                raise Refused("it is not an image of a kind known here")
            file.write(block)
            digest.update(block)
            size += len(block)
        file.flush()
        sync_file(file.fileno())
    return Unpacked(path, digest.hexdigest(), size)


def _blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(info) as entry:
            while block := entry.read(BLOCK):
                yield block
    except DAMAGE as error:
        raise Refused(f"it cannot be unpacked ({error}): pack it anew") from None
