"""The dashboard's pages, described. What it passes on below ``/gateway`` is described by the services themselves."""

from collections.abc import Mapping

from contracts.openapi import ANYBODY, Answer, Content, Operation, Operations, Parameter, words
from contracts.openapi import number as _number

HTML = "text/html; charset=utf-8"
GONE: Mapping[int, Answer] = {
    303: Answer("To the page where one signs in.", headers={"Location": {"schema": words()}}),
    404: Answer("There is no such thing, and the page says so.", Content(words(), HTML)),
    503: Answer("The gateway does not answer; the page tries again by itself.", Content(words(), HTML)),
}
FILTERS = (
    *(
        Parameter(name, words())
        for name in ("name", "state", "hostname", "task", "pipeline", "since", "order", "trail", "zone", "rows")
    ),
    Parameter("sort", {"enum": ["registered", "changed", "name"]}),
    Parameter("from", words(), "A date and time; as the zone has it, if it says none."),
    Parameter("to", words(), "A date and time; as the zone has it, if it says none."),
    Parameter("after", words(), "The last page's cursor."),
)


def _page(summary: str, parameters: tuple[Parameter, ...] = ()) -> Operation:
    # A line of text where it cannot even be read as HTTP has it.
    unreadable = {400: Answer("What is asked cannot be read; a page says so.", Content(words(), "text/*"))}
    return Operation(summary, {200: Answer("A page.", Content(words(), HTML)), **unreadable, **GONE}, parameters)


def operations() -> Operations:
    """What people see."""
    onward = Answer("Back to the page.", headers={"Location": {"schema": words()}})
    look = tuple(Parameter(name, words()) for name in ("language", "theme", "next"))
    return {
        "GET /": _page("Jobs", FILTERS),
        "GET /jobs/{job_id}": _page("A job", (Parameter("column", words(), "Whose histogram is shown."),)),
        "GET /review": _page(
            "Results to be judged",
            (
                *(Parameter(name, words()) for name in ("verification", "task", "name", "hostname", "job", "column")),
                Parameter("after", _number(), "The last page's cursor."),
            ),
        ),
        "GET /submit": _page("Submit files", (Parameter("after", _number(), "The last page's cursor."),)),
        "GET /batches/{batch}": _page(
            "A batch",
            (Parameter("state", words()), Parameter("after", _number(), "The last page's cursor.")),
        ),
        "GET /map": _page("The map of cells"),
        "GET /tasks": _page("Tasks"),
        "GET /tasks/new": _page("Make a task"),
        "GET /tasks/{task_id}": _page("Change a task"),
        "GET /pipelines": _page("Pipelines"),
        "GET /instruments": _page("Instruments"),
        "GET /system": _page("How the gateway is", (Parameter("hours", words(), "Of the charts: 1 or 24."),)),
        "GET /sign-in": Operation(
            "Sign in", {200: Answer("A page.", Content(words(), HTML))}, (Parameter("next", words()),), callers=ANYBODY
        ),
        "GET /look": Operation("Choose language and theme", {303: onward}, look, callers=ANYBODY),
        "GET /favicon.ico": Operation(
            "The icon", {200: Answer("It.", Content(words(), "image/svg+xml"))}, callers=ANYBODY
        ),
    }
