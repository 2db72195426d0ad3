"""The gateway's file sender's routes, described."""

from collections.abc import Mapping

from contracts.models import Job
from contracts.openapi import (
    AWAY,
    FULL,
    JSON,
    TEXT,
    UNREADABLE,
    Answer,
    Content,
    Operation,
    Operations,
    Parameter,
    Schema,
    empty,
    error,
    filled,
    json,
    number,
    read,
    read_loosely,
    words,
)
from gateway.file_sender.pictures import MOST
from gateway.file_sender.rejects import Judged

NO_JOB: Mapping[int, Answer] = {404: error("There is no such job, or not all of its files.")}
DIGEST = {"description": "RFC 9530.", "schema": words("^sha-256=:.*:$")}
FILE: Schema = {
    "Accept-Ranges": {"required": True, "schema": {"const": "bytes"}},
    "Last-Modified": {"required": True, "schema": words()},
    "ETag": {"description": "The content's SHA-256, where it is known.", "schema": words('^"[0-9a-f]{64}"$')},
    "Repr-Digest": DIGEST,
    "Content-Digest": DIGEST,
}
PART: Schema = {"Content-Range": {"required": True, "schema": words("^bytes ")}}
RANGE = (
    Parameter("Range", words(), "One range of bytes (RFC 9110).", place="header"),
    Parameter("If-Range", words(), "An ETag: where the file has another, all of it is sent.", place="header"),
    Parameter("Want-Content-Digest", words(), "Content-Digest is wanted for a short range.", place="header"),
    Parameter(
        "Want-Repr-Digest",
        words(),
        "An output that waits to be fetched is read and compared first: 409 where it is damaged, and it is made again.",
        place="header",
    ),
)


def operations() -> Operations:
    """What the gateway's file sender serves."""
    place = Parameter("place", number(0, 10**6), "The output's place in the job, from 0 on.", "path", required=True)
    content = Content({}, TEXT, "The file's bytes, whatever they are.")
    return {
        "GET /api/v1/transmitFile/{job_id}/{place}": Operation(
            "An output file",
            {
                200: Answer("The whole file.", content, FILE),
                206: Answer("The range asked for.", content, {**FILE, **PART}),
                409: error("The job is cancelled, or the output damaged; that one is made again."),
                416: Answer("No byte lies in the range.", content, {**FILE, **PART}),
                **NO_JOB,
                **UNREADABLE,
                **AWAY,
            },
            (place, *RANGE),
        ),
        "POST /api/v1/dataToHandle": Operation(
            "Look for delivered jobs now",
            {200: empty("Heard."), **NO_JOB, **UNREADABLE, **AWAY},
            body=Content(read_loosely(Job, filled("Id")), JSON, "Only its Id is looked at."),
        ),
        "POST /api/v1/archiveFile/{job_id}": Operation(
            "Archive a job whose outputs were fetched",
            {200: empty("Archived, or it was before."), 500: error("It is not archived, and why."), **NO_JOB, **AWAY},
        ),
        **_rejects(),
        **_pictures(),
        "GET /api/v1/bundle": _bundle(),
        "POST /api/v1/archive/sweep": Operation(
            "Remove now what is no longer to be kept",
            {200: json("What was removed, or would be.", {"type": "object"}), **AWAY},
            (Parameter("dry_run", {"type": "boolean"}),),
        ),
        "POST /api/v1/retry": Operation("Look for all work now", {200: empty("Heard.")}),
    }


def _bundle() -> Operation:
    meaning = "A zip, made as it is sent; it ends early where it cannot be made. SHA256SUMS in it tells what is right."
    saved: Schema = {"Content-Disposition": {"required": True, "schema": words("^attachment; ")}}
    return Operation(
        "Outputs of a job or of a batch as one zip",
        {
            200: Answer(meaning, Content({}, "application/zip"), saved),
            409: error("The job has no outputs."),
            **NO_JOB,
            **UNREADABLE,
            **AWAY,
        },
        (
            Parameter("job", words(), "Its id; this, or batch."),
            Parameter("batch", words(), "Its id."),
            Parameter("input", {"type": "boolean", "default": False}, "The images that were processed, too."),
        ),
    )


def _pictures() -> Operations:
    place = Parameter("place", words(r"^(input|\d{1,4})$"), "input, or an output's number.", "path", required=True)
    png = Answer("A PNG.", Content(words(), "image/png"))
    what: Schema = {
        **{name: number() for name in ("Width", "Height", "Channels", "Levels")},
        **{name: {"type": "number"} for name in ("Low", "High", "Least", "Most")},
        "Type": words(),
        "Colour": {"type": "boolean"},
        "Histogram": {"type": "array", "items": number()},
    }
    faulty = {
        **UNREADABLE,
        **NO_JOB,
        410: error("Retention has removed the files."),
        422: error("The file cannot be shown."),
        **AWAY,
    }
    labels = Parameter("labels", {"type": "boolean"}, "Each value has a colour of its own; 0 is transparent.")
    look = (
        *(Parameter(name, number(0, MOST[name])) for name in ("level", "x", "y", "channel")),
        Parameter("size", number(64, MOST["size"]), "Pixels a side."),
        Parameter("low", {"type": "number"}, "The grey value that becomes black; without it, what fits."),
        Parameter("high", {"type": "number"}, "The grey value that becomes white; without it, what fits."),
        labels,
    )
    return {
        "GET /api/v1/pictures/{job_id}/{place}": Operation(
            "What an image is",
            {200: json("Low and High fit most of it.", {"type": "object", "properties": what}), **faulty},
            (place,),
        ),
        "GET /api/v1/pictures/{job_id}/{place}/tiles": Operation(
            "A part of an image; level 0 is the image itself, each next has half the pixels a side",
            {200: png, **faulty},
            (place, *look),
        ),
        "GET /api/v1/pictures/{job_id}/{place}/thumbnail": Operation(
            "A whole image, small",
            {200: png, **faulty},
            (place, Parameter("side", number(16, MOST["side"]), "Pixels a side at most."), labels),
        ),
    }


def _rejects() -> Operations:
    outside = error("The input lies where nothing may be sent from.")
    trouble: Schema = {"type": "object", "properties": {"Id": words(), "Error": words()}, "required": ["Id", "Error"]}
    told: Schema = {
        "type": "object",
        "properties": {"Done": number(), "Troubles": {"type": "array", "items": trouble}},
        "required": ["Done", "Troubles"],
    }
    missing = error("The input is not in the archive.")
    return {
        "POST /api/v1/rejects/{job_id}": Operation(
            "Have the rejects agree with what reviewers say of a job",
            {200: empty("They do."), 400: outside, 500: missing, **NO_JOB, **AWAY, **FULL},
        ),
        "POST /api/v1/rejects": Operation(
            "Have the rejects agree with what reviewers say of these jobs",
            {200: json("How many do, and why others do not.", told), **UNREADABLE, **AWAY},
            body=Content(read(Judged)),
        ),
        "POST /api/v1/reject/{job_id}": Operation(
            "Keep a job's input among the rejects",
            {
                200: empty("Kept, or it was before."),
                400: outside,
                500: error("The input is not in the archive."),
                **NO_JOB,
                **AWAY,
                **FULL,
            },
        ),
        "DELETE /api/v1/reject/{job_id}": Operation(
            "Take a job's input from among the rejects",
            {200: empty("Gone."), 400: outside, 500: error("It is not among the rejects."), **NO_JOB, **AWAY},
        ),
    }
