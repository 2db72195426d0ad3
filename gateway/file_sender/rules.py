"""Names of archived and shown files, as the contract has them."""

from pathlib import PurePosixPath

SHOWN_AS_THEY_ARE = frozenset({".png", ".jpg", ".jpeg", ".gif"})
PICTURES = frozenset({".tif", ".tiff", ".bmp", *SHOWN_AS_THEY_ARE})
LONGEST = 255
"""Bytes of a file name that common file systems take."""


def archive_name(name: str, job_id: str, at: int, kind: str) -> str:
    """A name that no other file has: the first dot becomes ``_archive_<job>_<ns>_<kind>.``

    ``kind`` is ``input`` or ``output``. A name without a dot gets the mark at its end, so that it is unique too.
    """
    stem, dot, rest = name.partition(".")
    end = f"_archive_{job_id}_{at}_{kind}{dot}{rest}"
    # The longest names would become too long for the file system: the stem gives way.
    room = LONGEST - len(end.encode())
    if room < 1:
        # What follows the first dot is long, too: it gives way in the middle, so that the extension stays.
        rest = _shortened(rest, max(len(rest.encode()) + room - 1, 8))
        end, room = f"_archive_{job_id}_{at}_{kind}{dot}{rest}", 1
    return stem.encode()[:room].decode(errors="ignore") + end


def _shortened(text: str, room: int) -> str:
    """The text without its middle, in at most ``room`` bytes; what follows the last dot stays if it is short."""
    head, dot, tail = text.rpartition(".")
    tail = (dot + tail).encode()[-min(16, room) :].decode(errors="ignore")
    return head.encode()[: room - len(tail.encode())].decode(errors="ignore") + tail


def shown_as_it_is(name: str) -> bool:
    """Whether a browser shows such a file."""
    return PurePosixPath(name).suffix.lower() in SHOWN_AS_THEY_ARE


def is_picture(name: str) -> bool:
    """Whether a preview can be made of such a file."""
    return PurePosixPath(name).suffix.lower() in PICTURES


def preview_name(archived: str) -> str:
    """The preview beside an archived file: its extension becomes ``.jpeg``."""
    return str(PurePosixPath(archived).with_suffix(".jpeg"))


def reject_folder(pipeline_id: str) -> str:
    """The reject folder's name: the last level of the pipeline's topic."""
    return pipeline_id.rstrip("/").rpartition("/")[2] or "unknown"
