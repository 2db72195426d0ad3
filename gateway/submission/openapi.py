"""The routes by which people submit files, described."""

from contracts import transfer
from contracts.openapi import Content, Operation, Operations, Parameter, Schema, empty, words
from gateway.file_receiver.openapi import BYTES, CHECKSUM, NO, OFFSET, PROGRESS, SPEAKING, says

LOCATION: Schema = {"Location": {"required": True, "schema": words("^/api/v1/submissions/[0-9a-f]{40}$")}}


def operations() -> Operations:
    """What is served about submissions, beside the file receiver."""
    one = "/api/v1/submissions/{submission}"
    metadata = Parameter(
        "Upload-Metadata",
        words(),
        "batch, filename (with its folders, levels joined by /) and perhaps modified, each with its value in base64.",
        "header",
        required=True,
    )
    length = Parameter("Upload-Length", BYTES, place="header", required=True)
    offset = Parameter("Upload-Offset", BYTES, place="header", required=True)
    body = Content({}, transfer.MEDIA_TYPE, "Bytes from the offset on.")
    written = says(empty("The new offset. Whole, it is a job, or an archive that is unpacked."), PROGRESS)
    return {
        "POST /api/v1/submissions": Operation(
            "Submit a file to a batch, perhaps with its first bytes",
            {
                201: says(empty("Created, or known; done, if the offset says so."), LOCATION, OFFSET, PROGRESS),
                **NO,
            },
            (SPEAKING, length, metadata, CHECKSUM),
            Content({}, transfer.MEDIA_TYPE, "The first bytes; may be empty."),
        ),
        f"HEAD {one}": Operation("How far a submission is", {200: says(empty("So far."), PROGRESS), **NO}, (SPEAKING,)),
        f"PATCH {one}": Operation("Go on with a submission", {204: written, **NO}, (SPEAKING, offset, CHECKSUM), body),
        f"DELETE {one}": Operation("Give a submission up", {204: says(empty("Gone.")), **NO}, (SPEAKING,)),
    }
