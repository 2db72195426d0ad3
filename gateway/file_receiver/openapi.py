"""The file receiver's routes, described: tus 1.0.0, and the contract's plain calls."""

from collections.abc import Mapping

from contracts import transfer
from contracts.models import Job
from contracts.openapi import (
    ANYBODY,
    AWAY,
    FULL,
    Answer,
    Content,
    Operation,
    Operations,
    Parameter,
    Schema,
    empty,
    error,
    filled,
    number,
    read_loosely,
    words,
)

BYTES = number(0, 10**18 - 1)
SPEAKS: Schema = {
    "Tus-Resumable": {"required": True, "schema": {"const": transfer.VERSION}},
    "Cache-Control": {"required": True, "schema": {"const": "no-store"}},
}
OFFERS: Schema = {
    "Tus-Version": {"required": True, "schema": {"const": transfer.VERSION}},
    "Tus-Extension": {"required": True, "schema": {"const": transfer.EXTENSIONS}},
    "Tus-Checksum-Algorithm": {"required": True, "schema": {"const": ",".join(transfer.ALGORITHMS)}},
}
OFFSET: Schema = {"Upload-Offset": {"description": "Bytes that are on the disk.", "required": True, "schema": BYTES}}
PROGRESS: Schema = {
    **OFFSET,
    "Upload-Length": {"schema": BYTES},
    "Upload-Expires": {"description": "Only while bytes are lacking.", "schema": words(" GMT$")},
}
LOCATION: Schema = {"Location": {"required": True, "schema": words("^/api/v1/files/[0-9a-f]{40}$")}}
SPEAKING = Parameter("Tus-Resumable", {"const": transfer.VERSION}, place="header", required=True)
CHECKSUM = Parameter(
    "Upload-Checksum",
    words(f"^({'|'.join(transfer.ALGORITHMS)}) [A-Za-z0-9+/]+=*$"),
    "Algorithm and digest (base64) of this body.",
    place="header",
)


def says(answer: Answer, *more: Schema) -> Answer:
    """The answer with the protocol's own headers, and more."""
    headers = {key: value for some in (answer.headers, SPEAKS, *more) for key, value in some.items()}
    return Answer(answer.meaning, answer.content, headers)


NO: Mapping[int, Answer] = {
    400: error("A header cannot be read, or says what cannot be."),
    404: error("There is no such job or upload."),
    408: error("The body broke off, or stood still; what is kept, HEAD tells.", retry=True),
    409: error("The upload is elsewhere, or the job is for other content, or awaits no file."),
    412: error("Another version of tus was asked for."),
    413: error("More bytes than the upload lacks."),
    415: error("The body is not announced as part of an upload."),
    422: error("The job repository refuses the file for good."),
    423: error("Another request is writing to this upload.", retry=True),
    425: error("The job is not that far.", retry=True),
    460: error("These bytes do not fit their checksum; they were thrown away."),
    500: error("The folder for files cannot be used; someone must look at it."),
    **AWAY,
    **FULL,
}


def operations() -> Operations:
    """What the file receiver serves."""
    return {**_uploads(), **_upload(), **_plain()}


def _only(*statuses: int) -> dict[int, Answer]:
    return {status: NO[status] for status in statuses}


def _uploads() -> Operations:
    metadata = Parameter(
        "Upload-Metadata",
        words(),
        "jobid, sha256 and perhaps filename and folder, each with its value in base64.",
        "header",
        required=True,
    )
    length = Parameter("Upload-Length", BYTES, place="header", required=True)
    return {
        "OPTIONS /api/v1/files": _options(),
        "POST /api/v1/files": Operation(
            "Create an upload, perhaps with its first bytes",
            {201: says(empty("Created, or known; whole, if the offset says so."), LOCATION, OFFSET, PROGRESS), **NO},
            (SPEAKING, length, metadata, CHECKSUM),
            Content({}, transfer.MEDIA_TYPE, "The first bytes; may be empty."),
        ),
    }


def _options() -> Operation:
    return Operation("What of tus is spoken", {204: says(empty("This."), OFFERS)}, callers=ANYBODY)


def _upload() -> Operations:
    path = "/api/v1/files/{upload}"
    override = Parameter("X-HTTP-Method-Override", {"enum": ["HEAD", "PATCH", "DELETE"]}, place="header", required=True)
    offset = Parameter("Upload-Offset", BYTES, place="header", required=True)
    body = Content({}, transfer.MEDIA_TYPE, "Bytes from the offset on.")
    gone, written = empty("Gone."), says(empty("The new offset. Whole, it was verified and reported."), PROGRESS)
    told = {200: says(empty("How far it is."), PROGRESS), **NO}
    return {
        f"OPTIONS {path}": _options(),
        f"HEAD {path}": Operation("How far an upload is", told, (SPEAKING,)),
        f"PATCH {path}": Operation("Go on with an upload", {204: written, **NO}, (SPEAKING, offset, CHECKSUM), body),
        f"DELETE {path}": Operation("Give an upload up", {204: says(gone), **NO}, (SPEAKING,)),
        f"POST {path}": Operation(
            "One of these, where only POST passes",
            {204: says(empty("As PATCH and DELETE.")), **told, 405: empty("None of these.")},
            (SPEAKING, override, Parameter("Upload-Offset", BYTES, place="header"), CHECKSUM),
            body,
        ),
    }


def _plain() -> Operations:
    jobid = Parameter("jobid", words(), "The job's id.", "header", required=True)
    filename = Parameter("filename", words(), "The file's name, as the job has it.", "header", required=True)
    return {
        "POST /api/v1/transmitJob": Operation(
            "A job's file will follow",
            {200: empty("Heard."), **_only(400)},
            body=Content(read_loosely(Job, filled("Id"))),
        ),
        "POST /api/v1/transmitFile": Operation(
            "A job's whole file",
            {
                200: empty("Verified, on the disk and reported."),
                **_only(400, 408, 413, 422, 423, 460, 503, 507),
                500: error("No such job, another name than the job's, or the job repository refuses it."),
            },
            (jobid, filename),
            Content({}, "application/octet-stream"),
        ),
        "POST /api/v1/retry": Operation(
            "Whether the files of all waiting jobs are here",
            {200: empty("They are."), 500: error("Which are not."), **AWAY},
        ),
    }
