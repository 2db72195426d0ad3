"""The job repository's routes, described."""

from collections.abc import Mapping

from contracts.events import FACTS, VERDICTS
from contracts.listing import MOST
from contracts.models import Job, Owner, State
from contracts.openapi import (
    AWAY,
    EMPTY,
    JSON,
    PIPELINE,
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
    text,
    words,
    written,
)
from gateway.asked import Asked
from gateway.job_repository.changes import LONGEST
from gateway.job_repository.operations import Many
from gateway.job_repository.review import Review, ReviewMany
from gateway.job_repository.service import Claim, PipelineResult

NO_JOB: Mapping[int, Answer] = {404: error("There is no such job.")}
TEXTS = ("status", "hostname", "pipeline", "task", "batch")
NARROWING = (
    Parameter("state", {"type": "array", "items": {"enum": [str(state) for state in State]}}, listed=True),
    *(Parameter(name, words()) for name in TEXTS),
    Parameter("name", words(), "A part of the file's name."),
    *(Parameter(name, number(), "ns since the epoch.") for name in ("updated_since", "due_at", "lease_over_at")),
    Parameter("updated_until", number(), "ns since the epoch; what changed at it is no longer meant."),
    Parameter("verification", {"enum": [0, 1, 2]}, "Only complete jobs: 0 to be reviewed, 1 accepted, 2 rejected."),
    Parameter("wants_preview", {"type": "boolean"}),
    Parameter("order", {"enum": ["asc", "desc"], "default": "desc"}, "asc: oldest first, or from A on."),
    Parameter("sort", {"enum": ["registered", "changed", "name"], "default": "registered"}),
    Parameter("after", number(), "The last page's cursor; Link says it."),
    Parameter("mark", words(), "Belongs to after where the listing is sorted otherwise than by registration."),
    Parameter("limit", {**number(1, MOST), "default": MOST}, "Jobs on a page; more are never given."),
)
NEXT: Schema = {"Link": {"description": 'Where the next page is: <…>; rel="next" (RFC 8288).', "schema": words()}}
HISTORY: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"At": number(), **{key: words() for key in ("By", "What", "From", "To", "Why")}},
        "required": ["At", "By", "What", "From", "To", "Why"],
        "additionalProperties": False,
    },
}
COUNTS: Schema = {
    "type": "object",
    "propertyNames": {"enum": [str(state) for state in State]},
    "additionalProperties": number(),
}
_COUNTS = ("Waiting", "Oldest", "Complete", "Failed")
BY_PIPELINE: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"Pipeline": words(), **dict.fromkeys(_COUNTS, number())},
        "required": ["Pipeline", *_COUNTS],
    },
}
CHANGED: Schema = {
    "type": "object",
    "properties": {
        "Last": number(),
        "Jobs": {"type": "array", "items": {"type": "object"}},
        "Gone": {"type": "array", "items": words()},
    },
    "required": ["Last", "Jobs", "Gone"],
}
RELEASED: Schema = {"type": "object", "properties": {"Released": number()}, "required": ["Released"]}
FIRST: Schema = {
    name: {"operationId": operation, "parameters": {"job_id": "$response.body#/0/Id"}}
    for name, operation in (
        ("first", "getJobByJobId"),
        ("change", "putJobByJobId"),
        ("history", "getJobByJobIdHistory"),
    )
}


NEW: Schema = {
    "required": ["InputFile"],
    "properties": {"Id": EMPTY, "InputFile": filled("Hostname", "DirName", "Name", "Extension")},
}
ENDED: Schema = {"required": ["Status"], "properties": {"Status": {"enum": ["PipelineComplete", "PipelineFailed"]}}}


def _page() -> Answer:
    listed = json("A page of jobs, newest first if nothing else is asked.", written(list[Job]))
    return Answer(listed.meaning, listed.content, {**listed.headers, **NEXT}, FIRST)


def operations() -> Operations:
    """What the job repository serves."""
    return {**_jobs(), **_review(), **_calls_of_operators(), **_calls_of_pipelines(), **_calls_of_services()}


def _jobs() -> Operations:
    language = Parameter("Accept-Language", words(), "Owner, status and errors in this language.", place="header")
    owners: Schema = {"enum": [str(owner) for owner in Owner]}
    new = Content(read_loosely(Job, NEW), JSON, "A job that is new has no Id yet.")
    fields = Content(
        {"type": "object", "minProperties": 1},
        JSON,
        "Dotted paths of the job, each with its new value.",
        {"Verification": 1, "InputFile.Viewable": ""},
    )
    return {
        "POST /api/v1/job": Operation(
            "Make a job",
            {201: text("Its id."), 409: text("The id of the job that this file has."), **UNREADABLE, **AWAY},
            body=new,
        ),
        "GET /api/v1/job": Operation(
            "Jobs", {200: _page(), **UNREADABLE, **AWAY}, (Parameter("owner", words()), *NARROWING, language)
        ),
        "GET /api/v1/job/owner/{owner}": Operation(
            "An owner's jobs",
            {200: _page(), 500: error("There is no such owner."), **UNREADABLE, **AWAY},
            (Parameter("owner", owners, place="path", required=True), *NARROWING),
        ),
        "GET /api/v1/job/{job_id}": Operation("A job", {200: json("It.", written(Job)), **NO_JOB, **AWAY}),
        "PUT /api/v1/job/{job_id}": Operation(
            "Set fields of a job, all or none",
            {
                200: json("The job as it is now.", written(Job)),
                404: error("There is no such job or field, or the value does not fit."),
                **UNREADABLE,
                **AWAY,
            },
            body=fields,
        ),
        "DELETE /api/v1/job/{job_id}": Operation("Forget a job", {200: empty("Forgotten."), **NO_JOB, **AWAY}),
        "GET /api/v1/job/{job_id}/history": Operation(
            "All that happened to a job", {200: json("Oldest first; At in ns since the epoch.", HISTORY), **AWAY}
        ),
        "GET /api/v1/counts": Operation("How many jobs are in each state", {200: json("By state.", COUNTS), **AWAY}),
        "GET /api/v1/counts/pipelines": Operation(
            "What each pipeline has to do, and has done within an hour",
            {200: json("Oldest: when the first of the waiting jobs has changed last (ns).", BY_PIPELINE), **AWAY},
        ),
        "GET /api/v1/changes": Operation(
            "What has changed since",
            {
                200: json("Last is what to ask after next. Gone are jobs that were deleted.", CHANGED),
                **UNREADABLE,
                **AWAY,
            },
            (
                Parameter("after", number(), "Last of the answer before; without it nothing but Last is told."),
                Parameter(
                    "wait", {"type": "number", "minimum": 0, "maximum": LONGEST}, "Seconds to wait for a change."
                ),
            ),
        ),
    }


def _review() -> Operations:
    counted: Schema = {
        "type": "object",
        "properties": {"Count": number(), "Through": {"type": ["integer", "null"]}},
        "required": ["Count", "Through"],
    }
    return {
        "PUT /api/v1/job/{job_id}/review": Operation(
            "Accept a result (1), reject it (2) or set it back (0)",
            {
                200: json("The job as it is now.", written(Job)),
                409: error("The job has no result to judge."),
                **NO_JOB,
                **UNREADABLE,
                **AWAY,
            },
            body=Content(read(Review), JSON, "Reason is the reviewer's comment; it goes into the history."),
        ),
        "POST /api/v1/jobs/review": Operation(
            "Accept or reject many results: by Ids, or all that a filter leaves of those of which Judged is said",
            {
                200: json(
                    "A verdict for each; After to go on from. With DryRun only Count; Through names those counted.",
                    {"oneOf": [_verdicts(), counted]},
                ),
                **UNREADABLE,
                **AWAY,
            },
            body=Content(read(ReviewMany)),
        ),
    }


def _verdicts() -> Schema:
    verdict: Schema = {"Id": words(), "Changed": {"type": "boolean"}, "State": words(), "Status": number()}
    told: Schema = {"type": "object", "properties": {**verdict, "Error": words()}, "required": [*verdict, "Error"]}
    return {
        "type": "object",
        "properties": {
            "Changed": number(),
            "Verdicts": {"type": "array", "items": told},
            "After": {"type": ["integer", "null"]},
        },
        "required": ["Changed", "Verdicts", "After"],
    }


def _calls_of_operators() -> Operations:
    meanings = {
        "retry": "Look at what waits now, and release what was given up",
        "release": "Let jobs that were given up or cancelled go on",
        "cancel": "End jobs on their way",
    }
    unfit: Mapping[int, Answer] = {409: error("The job is not in a state in which that can be done."), **NO_JOB}
    early: Mapping[int, Answer] = {425: error("Something must end first.", retry=True)}
    found: dict[str, Operation] = {}
    for action, meaning in meanings.items():
        found[f"POST /api/v1/job/{{job_id}}/{action}"] = Operation(
            meaning,
            {200: json("The job.", written(Job)), **unfit, **early, **UNREADABLE, **AWAY},
            body=Content(read(Asked)),
        )
        found[f"POST /api/v1/jobs/{action}"] = Operation(
            f"{meaning}: by Ids, or by a filter",
            {200: json("A verdict for each; After to go on from.", _verdicts()), **UNREADABLE, **AWAY},
            body=Content(read(Many)),
        )
    return found


def _calls_of_pipelines() -> Operations:
    return {
        "PUT /api/v1/job/pipeline/{job_id}/{task_id}": Operation(
            "A pipeline's first call: its result",
            {
                200: empty("Taken, or had before."),
                400: error("No such job or task, or no status of those."),
                425: error("The job is not that far.", retry=True),
                500: error("The body cannot be read."),
                **AWAY,
            },
            body=Content(read_loosely(PipelineResult, ENDED)),
            callers=PIPELINE,
        ),
    }


def _calls_of_services() -> Operations:
    worker = Parameter("worker", words("^.+$"), place="path", required=True)
    return {
        "POST /api/v1/facts": Operation(
            "Report what has happened",
            {
                200: json("A verdict for each fact, in order, once all is committed.", written(VERDICTS)),
                **UNREADABLE,
                **AWAY,
            },
            body=Content(read(FACTS)),
        ),
        "POST /api/v1/claims": Operation(
            "Lease launched jobs",
            {200: json("The jobs, oldest first.", written(list[Job])), **UNREADABLE, **AWAY},
            body=Content(read(Claim)),
        ),
        "GET /api/v1/epoch": Operation(
            "Which life of the database this is", {200: text("Another word after each restore."), **AWAY}
        ),
        "DELETE /api/v1/claims/{worker:path}": Operation(
            "Give back what a worker held", {200: json("How many jobs.", RELEASED), **AWAY}, (worker,)
        ),
    }
