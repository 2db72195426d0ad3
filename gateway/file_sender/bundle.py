"""Results as one zip that is made as it is sent: neither memory nor disk ever holds it."""

import csv
import hashlib
import io
import re
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from contracts.disk import BLOCK, open_plain
from contracts.errors import AppError
from contracts.models import Job
from gateway.file_sender.places import check_kept, input_of, place_of
from gateway.files import GatewayFiles

PACKED = frozenset({".png", ".jpg", ".jpeg", ".gif", ".zip", ".gz", ".webp", ".jp2"})
"""Files that become no smaller."""
SUMS, PROBLEMS, JOBS = "SHA256SUMS", "PROBLEMS.txt", "jobs.csv"
COLUMNS = ("file", "state", "reason", "results", "qc_flags", "sha256", "job")
LONGEST = 200
"""Characters of one level of a name."""
FIRST_YEAR, LAST_YEAR = 1980, 2107
FORMULA = tuple("=+-@\t\r")
"""What a spreadsheet takes for the beginning of a formula."""


@dataclass(frozen=True)
class Member:
    """A file for the zip: where it lies, and what it should be (SHA-256; empty: not known)."""

    name: str
    path: Path
    sha256: str


def members(job: Job, files: GatewayFiles, *, with_input: bool) -> tuple[list[Member], list[str]]:
    """A job's files, and why some of them are not there. May block."""
    found: list[Member] = []
    problems: list[str] = []

    def add(name: str, sha256: str, where: Callable[[], Path]) -> None:
        try:
            check_kept(job)
            found.append(Member(f"{job.origin_dir}/{name}" if job.batch else name, where(), sha256))
        except AppError as error:
            problems.append(f"{name}: {error}")

    if with_input:
        add(job.input_file.name, job.input_file.sha256, partial(input_of, job, files))
    for output in job.pipeline_details.output_files or ():
        add(output.name, output.sha256, partial(place_of, job, output, files))
    return found, problems


class Bundle:
    """A zip in the making. Its calls block; what they give is to be sent, in their order.

    Names are unique and safe on every system. At the end stand ``SHA256SUMS`` with the digests that the repository
    knows (``sha256sum -c`` compares), and, where something is not as it should be, ``PROBLEMS.txt``.
    """

    def __init__(self) -> None:
        self._out = _Taken()
        self._zip = zipfile.ZipFile(self._out, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=1)
        self._names: set[str] = {name.casefold() for name in (SUMS, PROBLEMS, JOBS)}
        self._sums: list[str] = []
        self._problems: list[str] = []
        self._rows: list[tuple[str, ...]] = []

    def add(self, job: Job, files: GatewayFiles, *, with_input: bool) -> Iterator[bytes]:
        """A job's files."""
        found, problems = members(job, files, with_input=with_input)
        self._problems += problems
        details, file = job.pipeline_details, job.input_file
        said = (str(job.state), job.reason, details.results, details.qc_flags, file.sha256, job.id)
        self._rows.append((safe(f"{job.origin_dir}/{file.name}" if job.batch else file.name), *said))
        for member in found:
            yield from self._file(member)

    def _file(self, member: Member) -> Iterator[bytes]:
        name, digest = self._unique(safe(member.name)), hashlib.sha256()
        try:
            file = open_plain(member.path)
        except OSError as error:
            self._problems.append(f"{name}: it cannot be read ({error.strerror or error})")
            return
        with file, self._zip.open(self._info(name), "w", force_zip64=True) as entry:
            try:
                while block := file.read(BLOCK):
                    digest.update(block)
                    entry.write(block)
                    yield from self._out.take()
            except OSError as error:
                self._problems.append(f"{name}: it cannot be read to its end ({error.strerror or error})")
        if member.sha256 not in ("", digest.hexdigest()):
            self._problems.append(f"{name}: it is not, or no longer, what was made; do not use it")
        self._sums.append(f"{member.sha256 or digest.hexdigest()}  {name}\n")
        yield from self._out.take()

    def end(self, *, with_table: bool) -> Iterator[bytes]:
        """What is told of the files, and the zip's directory. ``with_table``: of the jobs, too."""
        if with_table:
            self._zip.writestr(self._info(JOBS), _table(self._rows))
        self._zip.writestr(self._info(SUMS), "".join(self._sums))
        if self._problems:
            self._zip.writestr(self._info(PROBLEMS), "\n".join(self._problems) + "\n")
        self._zip.close()
        yield from self._out.take()

    def _info(self, name: str) -> zipfile.ZipInfo:
        now = time.gmtime()
        info = zipfile.ZipInfo(name, (min(max(now.tm_year, FIRST_YEAR), LAST_YEAR), *now[1:6]))
        info.external_attr = 0o644 << 16
        packed = PurePosixPath(name).suffix.lower() in PACKED
        info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
        return info

    def _unique(self, name: str) -> str:
        path, count = PurePosixPath(name), 1
        while name.casefold() in self._names:
            count += 1
            name = str(path.with_name(f"{path.stem} ({count}){path.suffix}"))
        self._names.add(name.casefold())
        return name


class _Taken(io.RawIOBase):
    """A file that cannot be sought in, of which is taken what was written."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> Iterator[bytes]:
        """All of it, once."""
        pieces, self._pieces = self._pieces, []
        if pieces:
            yield b"".join(pieces)


def safe(name: str) -> str:
    """A relative path that any system can make a file of, as like the name as can be."""
    levels = [_level(level) for level in re.split(r"[/\\]", name) if level not in ("", ".", "..")]
    return "/".join(levels) or "_"


def _level(level: str) -> str:
    plain = "".join(sign if sign.isprintable() and sign not in '<>:"|?*' else "_" for sign in level)
    plain = plain.encode("utf-8", "replace").decode().rstrip(". ")
    if len(plain) > LONGEST:
        stem, dot, end = plain.rpartition(".")
        plain = f"{stem[: LONGEST - 20]}{dot}{end[:19]}" if dot else plain[:LONGEST]
    if re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)", plain.partition(".")[0].rstrip()):
        plain = f"_{plain}"
    return plain or "_"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """CSV; no cell is taken for a formula."""
    made = io.StringIO()
    writer = csv.writer(made)
    writer.writerow(COLUMNS)
    writer.writerows([f"'{cell}" if cell.startswith(FORMULA) else cell for cell in row] for row in rows)
    return made.getvalue()


def bundle_name(name: str) -> str:
    """What a zip is called that is saved."""
    return f"{safe(name).replace('/', '_')}.zip"
