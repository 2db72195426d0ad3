"""Moves a finished job's files to the archive, and makes the pictures a browser can show. Blocking functions."""

import contextlib
import errno
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from contracts.disk import place, sync_folder
from contracts.errors import AppError, NotFound
from contracts.models import InputFile, Job, OutputFile, OutputStatus, Owner
from gateway.file_sender.rules import archive_name, is_picture, preview_name, shown_as_it_is
from gateway.files import GatewayFiles, output_path

PREVIEW_EDGE = 1024
"""Longest side of a preview in pixels."""


Archived = tuple[InputFile, tuple[OutputFile, ...]]


def archived(jobs: Sequence[Job], files: GatewayFiles) -> list[Archived | AppError | OSError]:
    """Each job's files, now in the archive, or why they are not. Moving again what was moved before is harmless.

    The moves of all jobs are synced together. The archive's names hold the time at which the job was made (and
    the place among its files, as outputs of two folders may have one name), so a repeated try makes the same ones.
    """
    results: list[Archived | AppError | OSError] = []
    for job in jobs:
        try:
            results.append(_archived(job, files))
        except (AppError, OSError) as error:
            results.append(error)
    sync_folder(files.archive)
    return results


def _archived(job: Job, files: GatewayFiles) -> Archived:
    file, stamp = job.input_file, job.created
    source = files.input_path(file)
    kept = str(_moved(source, files.archive, job.id, stamp, "input"))
    places = {source: kept}  # a file may be named twice, or an output be the input itself
    details = job.pipeline_details
    outputs = []
    for nth, output in enumerate(details.output_files or (), start=1):
        path = output_path(output, (files.root,))
        if path not in places:
            places[path] = str(_moved(path, files.archive, job.id, stamp + nth, "output"))
        done = {"status": str(OutputStatus.COMPLETE), "owner": str(Owner.NONE), "error_details": None}
        outputs.append(output.evolve(archive_name=places[path], viewable=places[path], **done))
    return file.evolve(archive_name=kept, viewable=kept), tuple(outputs)


def _moved(source: Path, archive: Path, job_id: str, stamp: int, kind: str) -> Path:
    target = archive / archive_name(source.name, job_id, stamp, kind)
    if target.is_file():
        # An earlier try moved it and died before it could tell; what lies there now is another job's.
        return target
    if not source.is_file():
        raise NotFound(f"{source} is not there to be archived")
    _move(source, target)
    if source.parent.name == job_id:  # a folder of the job's own, made where names clashed
        with contextlib.suppress(OSError):
            source.parent.rmdir()
    return target


def _move(source: Path, target: Path) -> None:
    """A rename, whose content was synced long ago; a verified copy where the archive is another file system."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        place(source, target)


def make_preview(source: Path, target: Path) -> None:
    """A JPEG of at most ``PREVIEW_EDGE`` pixels a side, contrast stretched to the 1st and 99.8th percentile.

    Raises ``ValueError`` or ``OSError`` for what cannot be shown.
    """
    import numpy as np
    from PIL import Image

    from gateway.file_sender.pixels import first_plane

    pixels = first_plane(source)
    step = max(1, -(-max(pixels.shape[:2]) // PREVIEW_EDGE))
    small = pixels[::step, ::step]
    if small.dtype != np.uint8 or small.max() < 100:
        finite = small[np.isfinite(small)].astype(np.float32)
        low, high = np.percentile(finite, (1.0, 99.8)) if finite.size else (0.0, 1.0)
        scaled = (np.nan_to_num(small.astype(np.float32)) - low) / max(float(high - low), 1e-6)
        small = (np.clip(scaled, 0.0, 1.0) * 255.0).astype(np.uint8)
    temporary = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        Image.fromarray(small).save(temporary, "JPEG", quality=85)
        place(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def previews(job: Job, paint: Callable[[Path, Path], None] = make_preview) -> Mapping[str, str]:
    """Pictures made of the job's archived files: archive name -> picture. What cannot be shown is left out.

    ``paint`` makes one; raises ``ValueError``, ``OSError`` or ``AppError`` where it cannot.
    """
    made: dict[str, str] = {}
    outputs = job.pipeline_details.output_files or ()
    for name in [job.input_file.archive_name, *(output.archive_name for output in outputs)]:
        if not name or shown_as_it_is(name) or not is_picture(name):
            continue
        picture = preview_name(name)
        try:
            paint(Path(name), Path(picture))
        except (OSError, ValueError, AppError):
            continue  # a file that is no picture after all keeps itself as its viewable
        made[name] = picture
    return made
