"""The task launcher's routes, described."""

from collections.abc import Mapping

from pydantic import JsonValue

from contracts.models import Job, PipelineInfo, PipelineStatus, Task
from contracts.openapi import (
    AWAY,
    EMPTY,
    JSON,
    PIPELINE,
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
    text,
    words,
    written,
)
from gateway.task_launcher.applying import Wanted
from gateway.task_launcher.arranging import MOST, Disabled, Placed
from gateway.task_launcher.rerunning import Rerun
from gateway.task_launcher.service import Registration, Retry

FAULTY: Mapping[int, Answer] = {**UNREADABLE, **AWAY}
FIRST: Schema = {
    name: {"operationId": operation, "parameters": {"task_id": "$response.body#/0/Id"}}
    for name, operation in (("first", "getTaskByTaskId"), ("forget", "deleteTaskByTaskId"))
}


RULE: Schema = {"type": "string", "minLength": 1, "examples": ["true", '{"in": ["a", {"var": "InputFile.Name"}]}']}
NEW: Schema = {
    "required": ["Description", "JobSelector", "PipelineId"],
    "properties": {**filled("Description", "PipelineId")["properties"], "JobSelector": RULE, "Id": EMPTY},
}
LONG: Schema = {
    "required": ["TimeoutDuration"],
    "properties": {"TimeoutDuration": words(r"^([0-9]{1,4}(\.[0-9]{0,3})?(ns|us|ms|s|m|h)){1,3}$")},
}


class Pipeline(PipelineInfo):
    """A pipeline that a runner has registered, and who it was."""

    parameters: dict[str, dict[str, str | float | bool]]
    worker: str
    about: dict[str, JsonValue]
    lastSeen: str  # noqa: N815 - the wire's name


def operations() -> Operations:
    """What the task launcher serves."""
    return {**_tasks(), **_arranging(), **_applying(), **_trying(), **_matching(), **_pipelines()}


def _tasks() -> Operations:
    unknown: Mapping[int, Answer] = {404: error("There is no such task.")}
    listed = json("All, in the order in which they are asked.", written(list[Task]))
    return {
        "POST /api/v1/task": Operation(
            "Make a task",
            {201: text("Its id."), 500: error("A field is empty that must not be."), **FAULTY},
            body=Content(read_loosely(Task, NEW), JSON, "JobSelector is a JSONLogic rule as text."),
        ),
        "GET /api/v1/task": Operation(
            "Tasks",
            {200: Answer(listed.meaning, listed.content, listed.headers, FIRST), 204: empty("There are none."), **AWAY},
        ),
        "PUT /api/v1/task": Operation(
            "Change a task",
            {200: empty("Changed."), **unknown, **FAULTY},
            body=Content(
                read_loosely(Task, filled("Id")), JSON, "Id, and what is to be replaced; what is empty stays."
            ),
        ),
        "GET /api/v1/task/{task_id}": Operation("A task", {200: json("It.", written(Task)), **unknown, **AWAY}),
        "DELETE /api/v1/task/{task_id}": Operation(
            "Forget a task", {200: empty("Forgotten."), 400: error("There is no such task."), **AWAY}
        ),
    }


def _arranging() -> Operations:
    unknown: Mapping[int, Answer] = {404: error("There is no such task.")}
    counts: Schema = {"Running": number(0, MOST), "Waiting": number(0, MOST), "More": {"type": "boolean"}}
    told: Schema = {"type": "object", "properties": counts, "required": list(counts)}
    return {
        "PUT /api/v1/task/{task_id}/order": Operation(
            "Put a task at a place: of two that want a file, the earlier gets it",
            {200: empty("It stands there; beyond the last is the last."), **unknown, **FAULTY},
            body=Content(read(Placed)),
        ),
        "PUT /api/v1/task/{task_id}/disabled": Operation(
            "Let a task want nothing, or again what its rule says",
            {200: empty("Jobs that were launched for it go on."), **unknown, **FAULTY},
            body=Content(read(Disabled)),
        ),
        "GET /api/v1/task/{task_id}/waiting": Operation(
            "How many jobs are under way for a task, and how many come that it would get",
            {200: json(f"More: of those on their way only {MOST} were looked at.", told), **unknown, **AWAY},
        ),
        "POST /api/v1/job/{job_id}/rerun": Operation(
            "Process a job again that has ended, by another task whatever its rule says",
            {
                200: json("The job, on its way again; Earlier tells what had become of it.", written(Job)),
                404: error("There is no such job."),
                409: error("The job has not ended, or was processed by this version of the task; or it is disabled."),
                425: error("Something must end first.", retry=True),
                **FAULTY,
            },
            body=Content(read(Rerun), JSON, "Task is a task's Id, Reason goes into the history."),
        ),
    }


def _applying() -> Operations:
    trouble: Schema = {"type": "object", "properties": {"Id": words(), "Error": words()}, "required": ["Id", "Error"]}
    counts = dict.fromkeys(("Looked", "Wanted", "Applied"), number())
    troubles: Schema = {"type": "array", "items": trouble}
    told: Schema = {
        "type": "object",
        "properties": {**counts, "Troubles": troubles, "After": {"type": ["integer", "null"]}},
        "required": [*counts, "Troubles", "After"],
    }
    return {
        "POST /api/v1/task/{task_id}/apply": Operation(
            "Apply a task to jobs that have ended",
            {200: json("What came of a page of jobs; After to go on from.", told), **FAULTY}
            | {404: error("There is no such task."), 409: error("The task is disabled.")},
            body=Content(read(Wanted)),
        ),
    }


def _trying() -> Operations:
    said: Schema = {"Id": words(), "Name": words(), "Wanted": {"type": "boolean"}, "Why": words()}
    one: Schema = {"type": "object", "properties": said, "required": list(said)}
    told: Schema = {
        "type": "object",
        "properties": {"Error": words(), "Tried": {"type": "array", "items": one}},
        "required": ["Error", "Tried"],
    }
    return {
        "GET /api/v1/tasks/try": Operation(
            "Which of the last files a rule wants, and why",
            {200: json("Error says why the rule could not be kept; then nothing is tried.", told), **FAULTY},
            (Parameter("rule", words(), "A JSONLogic rule as text.", required=True),),
        ),
    }


def _matching() -> Operations:
    truth: Schema = {"enum": ["true", "false"]}
    return {
        "POST /api/v1/matchTask": Operation(
            "Whether a task wants a job",
            {200: text("true or false.", truth), **FAULTY},
            body=Content(read_loosely(Job)),
        ),
        "POST /api/v1/matchTasks": Operation(
            "Whether a task wants each of several jobs",
            {200: json("An answer for each, in order.", written(list[bool])), **FAULTY},
            body=Content(read(list[Job])),
        ),
        "POST /api/v1/dataToHandle": Operation(
            "Launch a job that has arrived",
            {200: empty("Done, or it was launched before."), 404: error("There is no such job."), **FAULTY},
            body=Content(read_loosely(Job, filled("Id")), JSON, "Only its Id is looked at."),
        ),
    }


def _pipelines() -> Operations:
    ends: Schema = {"enum": [str(PipelineStatus.COMPLETE), str(PipelineStatus.FAILED)]}
    return {
        "POST /api/v1/pipelineStatus/{job_id}/{task_id}": Operation(
            "A pipeline's second call: its status word",
            {
                200: empty("Taken, or had before."),
                400: error("No such job or task, or another word than reported."),
                **AWAY,
            },
            body=Content(ends, TEXT, "In any capitals."),
            callers=PIPELINE,
        ),
        "POST /api/v1/retry": Operation(
            "Tell silent pipelines again",
            {200: empty("Told."), 500: error("The duration cannot be read."), **FAULTY},
            body=Content(read_loosely(Retry, LONG), JSON, "TimeoutDuration as Go writes it: 15s, 1h30m."),
        ),
        "GET /api/v1/pipelines": Operation(
            "Pipelines that were registered", {200: json("By topic.", written(list[Pipeline])), **AWAY}
        ),
        "POST /api/v1/pipelines": Operation(
            "Register a runner's pipelines", {200: empty("Noted."), **FAULTY}, body=Content(read(Registration))
        ),
    }
