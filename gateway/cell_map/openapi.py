"""The routes of the map, described."""

from collections.abc import Mapping

from contracts.openapi import (
    AWAY,
    UNREADABLE,
    Answer,
    Content,
    Operation,
    Operations,
    Parameter,
    empty,
    error,
    json,
    number,
    read,
    words,
    written,
)
from gateway.cell_map.asked import LONGEST, MOST, MOST_CROPS
from gateway.cell_map.said import (
    About,
    AskedSelection,
    Decision,
    Export,
    Gate,
    Group,
    NewGate,
    NewGroup,
    Selected,
)

FAULTY: Mapping[int, Answer] = {**UNREADABLE, **AWAY}
NO_GROUP: Mapping[int, Answer] = {404: error("There is no such group.")}
NO_GATE: Mapping[int, Answer] = {404: error("There is no such gate.")}
MANY: Mapping[int, Answer] = {409: error("There are too many already.")}
ANY = {"type": "array", "items": {"type": "string"}, "maxItems": 100}
BYTES = {"type": "string", "format": "binary"}
SHAPE = (
    "Columns: the length of a line of JSON (uint32, the lowest byte first), the line, and the columns; each begins at "
    "a multiple of eight bytes. The line tells each column's Name, Type, At (bytes after the line) and Count; Last, "
    "the sequence to ask after next; More; and ClassNames, InstrumentNames, ModelNames, whose places the columns hold."
)
CSV = Answer("The table.", Content(words(), "text/csv; charset=utf-8"))


def operations() -> Operations:
    """What the map serves."""
    return {
        "GET /api/v1/map": Operation("What is on the map", {200: json("In figures.", written(About)), **AWAY}),
        "GET /api/v1/map/points": Operation(
            "Cells with their places, as columns",
            {200: Answer(SHAPE, Content(BYTES, "application/octet-stream")), **FAULTY},
            (
                Parameter("fields", words(), "With commas: id, x, y, class, instrument, model, at (s), or features."),
                Parameter("after", number(), "Those that came after this sequence."),
                Parameter("wait", {"type": "number", "minimum": 0, "maximum": LONGEST}, "Seconds, until some come."),
                Parameter("limit", number(1, MOST), "About so many: cells of one job stay together."),
                Parameter("model", ANY, "Any of these."),
                Parameter("instrument", ANY, "Any of these."),
                Parameter("class", ANY, "Any of these."),
                Parameter("since", number(), "Not before (ns)."),
                Parameter("until", number(), "Before (ns)."),
            ),
        ),
        "GET /api/v1/map/crops": Operation(
            "Pictures of cells on one sheet: 16 in a row, 64 pixels wide and high, in the order of the ids",
            {
                200: Answer(
                    "PNG. A cell without a picture has a cross.",
                    Content(BYTES, "image/png"),
                    headers={"X-Missing": {"description": "Cells without a picture.", "schema": {"type": "integer"}}},
                ),
                **FAULTY,
            },
            (Parameter("ids", words(r"^\d{1,16}(,\d{1,16})*$"), f"Up to {MOST_CROPS}.", required=True),),
        ),
        "POST /api/v1/map/selection": Operation(
            "Count what is selected",
            {200: json("In figures.", written(Selected)), **FAULTY},
            body=Content(read(AskedSelection)),
        ),
        "POST /api/v1/map/export": Operation(
            "What is selected, as a table",
            {
                200: Answer("CSV, or Parquet (application/vnd.apache.parquet).", Content(words(), "*/*")),
                409: error("Parquet cannot be written here."),
                **FAULTY,
            },
            body=Content(read(Export)),
        ),
        "GET /api/v1/map/groups": Operation("Groups", {200: json("By name.", written(list[Group])), **AWAY}),
        "POST /api/v1/map/groups": Operation(
            "Name what is selected",
            {201: json("The group.", written(Group)), **MANY, **FAULTY},
            body=Content(read(NewGroup)),
        ),
        "GET /api/v1/map/groups/labels": Operation(
            "All groups as a training set: label, id, job, cell", {200: CSV, **AWAY}
        ),
        "GET /api/v1/map/groups/{group}": Operation("A group's cells, as a table", {200: CSV, **NO_GROUP, **FAULTY}),
        "DELETE /api/v1/map/groups/{group}": Operation(
            "Forget a group", {200: empty("Its cells stay."), **NO_GROUP, **FAULTY}
        ),
        "GET /api/v1/map/gates": Operation(
            "Gates, and what they have decided", {200: json("By name.", written(list[Gate])), **AWAY}
        ),
        "POST /api/v1/map/gates": Operation(
            "Decide about every cell that comes",
            {201: json("The gate.", written(Gate)), **MANY, **FAULTY},
            body=Content(read(NewGate)),
        ),
        "DELETE /api/v1/map/gates/{gate}": Operation(
            "Forget a gate and its decisions", {200: empty("It decides no more."), **NO_GATE, **FAULTY}
        ),
        "GET /api/v1/map/gates/{gate}/decisions": Operation(
            "What a gate has decided, by job",
            {200: json("In the order in which it was decided.", written(list[Decision])), **NO_GATE, **FAULTY},
            (
                Parameter("after", number(), "After this sequence."),
                Parameter("limit", number(0, 1000), "At most."),
            ),
        ),
    }
