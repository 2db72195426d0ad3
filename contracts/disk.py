"""Durable file operations: what they have returned from survives a power cut (POSIX and Windows).

All of them block (use ``asyncio.to_thread``). A full disk or quota is ``Full``; other ``OSError`` are the caller's.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import sys
import uuid
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from contracts.errors import BadRequest, Full, Unavailable

BLOCK = 2**20
"""Bytes read or copied at once."""

_NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES}
_WINDOWS = sys.platform == "win32"
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
_DEVICES |= {f"{kind}{n}" for kind in ("COM", "LPT") for n in "0123456789¹²³"}
_NOT_A_NAME = {errno.ENAMETOOLONG, errno.EILSEQ}
LONGEST = 255
"""Bytes of a file's name that common file systems take."""


@contextlib.contextmanager
def room_at(path: Path) -> Iterator[None]:
    """Raises ``Full``, naming the place, where the work inside runs out of room, and ``BadRequest`` where the file
    system takes no such name."""
    try:
        yield
    except OSError as error:
        if no_room(error):
            raise Full(f"no room left on the disk of {path}: free some or add more") from error
        if error.errno in _NOT_A_NAME:
            shown = str(path)
            shown = shown if len(shown) <= 200 else f"{shown[:100]}…{shown[-100:]}"
            raise BadRequest(
                f"{shown!r}: {error.strerror}; give the file and its folders shorter, plain names"
            ) from error
        raise


def no_room(error: BaseException) -> bool:
    """Whether an error says that a disk or a quota is full."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM or getattr(error, "winerror", None) in (39, 112)
    return isinstance(error, Full)


def sync_file(file: int | Path) -> None:
    """The file's content is on the disk, not only in the system's memory."""
    if isinstance(file, int):
        _flush(file)
        return
    # Windows flushes only handles that may write.
    handle = os.open(file, (os.O_RDWR if _WINDOWS else os.O_RDONLY) | getattr(os, "O_BINARY", 0))
    try:
        with room_at(file):
            _flush(handle)
    finally:
        os.close(handle)


def _flush(handle: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        # There, fsync leaves the data in the drive's cache.
        with contextlib.suppress(OSError):
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
            return
    os.fsync(handle)


def sync_folder(path: Path) -> None:
    """The names in the folder are on the disk. Windows cannot be asked for this, and journals them by itself."""
    if _WINDOWS:
        return
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        with room_at(path):
            os.fsync(handle)
    except OSError as error:
        # Some network file systems refuse to sync folders: they do it with each operation.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """The folder and its parents exist, durably."""
    missing = []
    folder = path
    while not folder.is_dir():
        missing.append(folder)
        if folder.parent == folder:
            break
        folder = folder.parent
    with room_at(path):
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)


def keep_folder(path: Path) -> None:
    """Like ``make_folder``, for folders that a service keeps everything in: also one that lay there already may have
    been made a moment before a crash, and not be on the disk yet."""
    make_folder(path)
    sync_folder(path.parent)


def place(temporary: Path, target: Path) -> None:
    """The temporary file under its final name, whole or not at all; what was there before is replaced."""
    sync_file(temporary)
    with room_at(target):
        try:
            os.replace(temporary, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            near = _copy_near(temporary, target)
            try:
                os.replace(near, target)
            except OSError:
                near.unlink(missing_ok=True)
                raise
            temporary.unlink()
    sync_folder(target.parent)


def place_new(temporary: Path, target: Path, *, synced: bool = False, keep: bool = False) -> bool:
    """Like ``place``, but never over an existing file: then it returns False and leaves both as they are.

    ``synced`` says that the temporary file's content was synced already. With ``keep`` the temporary name stays,
    as a second name of the very same file, where the file system can do that; after a crash midway it may stay
    anyway.
    """
    if not synced:
        sync_file(temporary)
    with room_at(target):
        placed = _link_new(temporary, target)
        if placed and not keep:
            temporary.unlink(missing_ok=True)
    if placed:
        sync_folder(target.parent)
    return placed


def _link_new(temporary: Path, target: Path) -> bool:
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno == errno.EXDEV:
            return _copy_new(temporary, target)
        if error.errno in _NO_LINKS:
            return _rename_new(temporary, target)
        raise
    return True


def _rename_new(temporary: Path, target: Path) -> bool:
    """For file systems without hard links."""
    try:
        if not _WINDOWS:
            # An empty file holds the name until the rename a moment later.
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    try:
        (os.rename if _WINDOWS else os.replace)(temporary, target)
    except FileExistsError:
        return False
    except OSError:
        if not _WINDOWS:
            target.unlink()
        raise
    return True


def _copy_new(temporary: Path, target: Path) -> bool:
    near = _copy_near(temporary, target)
    try:
        placed = _link_new(near, target)
    finally:
        near.unlink(missing_ok=True)
    return placed


def _copy_near(source: Path, target: Path) -> Path:
    """A verified, synced copy under another name beside the target. Raises ``Unavailable`` when it differs."""
    near = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with room_at(target):
            shutil.copyfile(source, near)
            sync_file(near)
        if sha256_of(near) != sha256_of(source):
            raise Unavailable(f"the copy of {source} beside {target} differs from it: check that disk")
    except BaseException:
        near.unlink(missing_ok=True)
        raise
    return near


def sha256_of(path: Path) -> str:
    """The SHA-256 of the file's content, as 64 hexadecimal digits."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bare_name(name: str, *, windows: bool = _WINDOWS) -> str:
    """The same name, if it can be a file's name in any folder here. Raises ``BadRequest`` with the reason and what to
    do otherwise."""
    if reason := barred(name, windows=windows):
        raise BadRequest(reason)
    return name


def barred(name: str, *, windows: bool) -> str:
    """Why no file can have this name, and what to do; empty when one can. ``windows``: by the rules there, too."""
    short = f"{name!r}" if len(name) <= 80 else f"{name[:40]!r}…"
    if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
        return f"{short} is not a bare file name: give the file a name without folders and NUL characters"
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return f"{short} cannot be written as UTF-8: rename the file"
    if length > LONGEST:
        return f"the file name {short} is {length} bytes long: shorten it, {LONGEST} is the most"
    if windows and (rule := _barred_on_windows(name)):
        return f"{short} cannot be a file name on Windows ({rule}): rename the image, or the pipeline's output"
    return ""


def _barred_on_windows(name: str) -> str:
    """Which of the rules for names on Windows is broken. Source: "Naming Files, Paths, and Namespaces" (Microsoft)."""
    if name.partition(".")[0].rstrip(" ").upper() in _DEVICES:
        return "it is a device's name there"
    if name[-1] in ". ":
        return "it ends with a dot or a space"
    wrong = sorted({sign for sign in name if ord(sign) < 32 or sign in '<>:"|?*'})
    return f"it holds {' '.join(map(repr, wrong))}" if wrong else ""


def is_file(path: Path) -> bool:
    """Whether a plain file lies there; False also for what can be no path, as names from outside may be."""
    return os.path.isfile(path)


def open_plain(path: Path) -> FileIO:
    """A file to be read, unbuffered: never through a link and never waiting, as a pipe in its place would have it.

    Raises ``OSError``, also for what is no plain file.
    """
    handle = os.open(path, PLAIN)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file", str(path))
        return FileIO(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


PLAIN = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
"""How a file that others can replace is opened: not through a link, not waiting, without hindering anyone."""


def inside(root: Path, path: str | Path) -> Path:
    """The path below ``root`` with all links resolved. Raises ``BadRequest`` where it leads out of it."""
    try:
        home = root.resolve()
        found = (home / path).resolve()
    except (ValueError, RuntimeError, OSError) as error:
        raise BadRequest(f"{str(path)!r} is not a path: {error}") from None
    if not found.is_relative_to(home):
        raise BadRequest(f"{str(path)!r} leads out of {root}")
    return found
