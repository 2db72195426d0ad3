"""Moves a finished job's files to the archive, and makes the pictures a browser can show. Blocking functions."""

import contextlib
import errno
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from contracts.disk import make_folder, place, sha256_of, sync_folder
from contracts.errors import AppError, NotFound
from contracts.models import InputFile, Job, OutputFile, OutputStatus, Owner
from gateway.file_sender.rules import archive_name, is_picture, preview_name, shown_as_it_is
from gateway.files import GatewayFiles, output_path

PREVIEW_EDGE = 1024
"""Longest side of a preview in pixels."""


Archived = tuple[InputFile, tuple[OutputFile, ...]]


def archived(jobs: Sequence[Job], files: GatewayFiles) -> list[Archived | AppError | OSError]:
    """Each job's files, now in the archive, or why they are not. Moving again what was moved before is harmless.

    The moves of all jobs are synced together. The archive's names hold the time at which the job was made, or a task
    was last applied to it (and the place among its files, as outputs of two folders may have one name): a repeated try
    makes the same names, a job that is processed again others.
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
    file, stamp = job.input_file, job.begun or job.created
    source = files.input_path(file)
    kept = str(_moved(source, files.archive, job, stamp, "input", file.sha256))
    places = {source: kept}  # a file may be named twice, or an output be the input itself
    details = job.pipeline_details
    outputs = []
    for nth, output in enumerate(details.output_files or (), start=1):
        path = output_path(output, (files.root,))
        if path not in places:
            places[path] = str(_moved(path, files.archive, job, stamp + nth, "output", output.sha256))
        done = {"status": str(OutputStatus.COMPLETE), "owner": str(Owner.NONE), "error_details": None}
        outputs.append(output.evolve(archive_name=places[path], viewable=places[path], **done))
    return file.evolve(archive_name=kept, viewable=kept), tuple(outputs)


def _moved(source: Path, archive: Path, job: Job, stamp: int, kind: str, sha256: str) -> Path:
    target = archive / archive_name(source.name, job.id, stamp, kind)
    if target.is_file() and not _outdated(target, source, sha256):
        # An earlier try moved it and died before it could tell; what lies there now is another job's.
        return target
    if not source.is_file():
        raise NotFound(f"{source} is not there to be archived")
    _move(source, target)
    if source.parent.name == job.id:  # a folder of the job's own, made where names clashed
        with contextlib.suppress(OSError):
            source.parent.rmdir()
    return target


def _outdated(target: Path, source: Path, sha256: str) -> bool:
    """Whether the archive holds what the job made in a life that a restored backup knows nothing of."""
    if not sha256 or not source.is_file():
        return False
    return sha256_of(target) != sha256 and sha256_of(source) == sha256


def put_back(job: Job, files: GatewayFiles) -> int:
    """Files of a job on its way that lie in the archive already, for the backup that tells of it is older, are in
    their places again; the number of them. A place that another file has taken stays as it is."""
    details, file = job.pipeline_details, job.input_file
    named = [(OutputFile(dir_name=file.dir_name, name=file.name), job.created, "input")]
    named += [(one, job.created + nth, "output") for nth, one in enumerate(details.output_files or (), start=1)]
    roots, count = (files.root, Path(details.output_folder or files.output)), 0
    for one, stamp, kind in named:
        with contextlib.suppress(AppError):
            path = output_path(one, roots)
            kept = files.archive / archive_name(path.name, job.id, stamp, kind)
            if kept.is_file() and not path.exists():
                make_folder(path.parent)
                _move(kept, path)
                sync_folder(path.parent)
                count += 1
    return count


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
