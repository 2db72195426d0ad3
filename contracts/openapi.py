"""OpenAPI 3.1 documents, made of a service's routes and of what its ``openapi.py`` says of them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from starlette.routing import BaseRoute, Route

Schema = Mapping[str, Any]
JSON, TEXT = "application/json", "text/plain"
ANYBODY: tuple[str, ...] = ()
KNOWN = ("bearer", "session")
PIPELINE = (*KNOWN, "callback")
SCHEMES: Schema = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The token of an edge, a service or a user."},
    "session": {"type": "apiKey", "in": "cookie", "name": "cytobus_session", "description": "A user's browser."},
    "callback": {"type": "apiKey", "in": "query", "name": "token", "description": "In the URLs a pipeline is told."},
}
EMPTY: Schema = {"enum": ["", None]}
RETRY_AFTER: Schema = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}}}


@dataclass(frozen=True)
class Typed:
    """JSON of a Python type. ``mode`` says whether it is what we write (every field is there) or read; ``loose`` is
    what Go's decoder reads (see ``gojson``): null is every type's zero value."""

    type: Any
    mode: JsonSchemaMode = "serialization"
    loose: bool = False
    where: Schema = field(default_factory=dict)
    """What must hold besides, here alone."""

    @property
    def suffix(self) -> str:
        """Told apart in a document: one model can be written in one way and read in another."""
        return "" if self.mode == "serialization" else "In" if self.loose else "Exact"


def written(of: Any) -> Typed:
    """JSON as a service answers it."""
    return Typed(of)


def read(of: Any) -> Typed:
    """JSON as Pydantic reads it."""
    return Typed(of, "validation")


def read_loosely(of: Any, where: Schema | None = None) -> Typed:
    """JSON as Go's decoder reads it, where such and such holds besides."""
    return Typed(of, "validation", loose=True, where=where or {})


@dataclass(frozen=True)
class Content:
    """A body: its media type and what is in it."""

    schema: Schema | Typed
    media: str = JSON
    description: str = ""
    example: Any = None


@dataclass(frozen=True)
class Answer:
    """What a status means, and what comes with it; nothing without ``content``."""

    meaning: str
    content: Content | None = None
    headers: Schema = field(default_factory=dict)
    links: Schema = field(default_factory=dict)


@dataclass(frozen=True)
class Parameter:
    """Something asked in the query, the path or a header."""

    name: str
    schema: Schema
    description: str = ""
    place: str = "query"
    required: bool = False
    listed: bool = False
    """Several values in one, with commas between them."""


@dataclass(frozen=True)
class Operation:
    """One method on one path. ``callers`` are the ways to say who one is, any of which will do; none: nobody asks."""

    summary: str
    answers: Mapping[int, Answer]
    parameters: Sequence[Parameter] = ()
    body: Content | None = None
    callers: tuple[str, ...] = KNOWN


Operations = Mapping[str, Operation]
"""By method and path as in the route, such as ``GET /api/v1/job/{job_id}``."""


def number(least: int = 0, most: int = 2**63 - 1) -> Schema:
    """An integer between two bounds."""
    return {"type": "integer", "minimum": least, "maximum": most}


def words(pattern: str = "") -> Schema:
    """Text."""
    return {"type": "string", "pattern": pattern} if pattern else {"type": "string"}


def filled(*names: str) -> Schema:
    """An object with these texts, none of them empty."""
    text_: Schema = {"type": "string", "minLength": 1}
    return {"type": "object", "required": list(names), "properties": dict.fromkeys(names, text_)}


def empty(meaning: str) -> Answer:
    """A status and nothing more."""
    return Answer(meaning)


def text(meaning: str, schema: Schema | None = None) -> Answer:
    """Plain text."""
    return Answer(meaning, Content(schema or words(), TEXT))


def json(meaning: str, of: Schema | Typed) -> Answer:
    """JSON that may change at any time."""
    headers = {"Cache-Control": {"schema": {"type": "string"}}}
    return Answer(meaning, Content(of), headers)


def error(meaning: str, *, retry: bool = False) -> Answer:
    """The contract's way to say no: a line of text. ``retry``: trying again may help."""
    line = Content({"type": "string", "description": "What is wrong and, where there is one, the remedy."}, TEXT)
    return Answer(meaning, line, RETRY_AFTER if retry else {})


AWAY: Mapping[int, Answer] = {503: error("A database, a disk or a peer does not answer now.", retry=True)}
FULL: Mapping[int, Answer] = {507: error("There is no room; nothing was taken.", retry=True)}
UNREADABLE: Mapping[int, Answer] = {400: error("The request cannot be read, or never be accepted as it is.")}
_ALWAYS: Mapping[int, Answer] = {400: error("The request is no HTTP that can be read.")}
_ASKED: Mapping[int, Answer] = {
    401: error("Who asks is not known; told where authentication is switched on."),
    403: error("Who asks may not do this."),
}
_ELSEWHERE: Mapping[int, Answer] = {404: error("Nothing is known under this path.")}


def pairs(routes: Iterable[BaseRoute]) -> list[tuple[str, str]]:
    """Method and path of all that is served; HEAD, which GET brings along, is not told apart."""
    found = []
    for route in routes:
        if isinstance(route, Route):
            methods = sorted(route.methods or ())
            found += [(method, route.path) for method in methods if method != "HEAD" or "GET" not in methods]
    return found


def differences(routes: Iterable[BaseRoute], operations: Operations) -> list[str]:
    """Routes that are not described and descriptions without a route; empty when all is well."""
    served = {f"{method} {path}" for method, path in pairs(routes)}
    missing = [f"{name}: not described" for name in sorted(served - operations.keys())]
    return missing + [f"{name}: there is no such route" for name in sorted(operations.keys() - served)]


def document(name: str, version: str, routes: Iterable[BaseRoute], operations: Operations) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a service. A route that is not described is left out (see ``differences``)."""
    schemas: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for method, path in pairs(routes):
        if operation := operations.get(f"{method} {path}"):
            shown = re.sub(r":\w+}", "}", path)
            paths.setdefault(shown, {})[method.lower()] = _operation(method, shown, operation, schemas)
    about = "Errors are lines of plain text. Wherever GET is answered, HEAD is too."
    return {
        "openapi": "3.1.0",
        "info": {"title": f"cytobus {name}", "version": version, "description": about},
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items())), "securitySchemes": dict(SCHEMES)},
    }


def name_of(method: str, path: str) -> str:
    """The operation's id: ``getJobByJobId``."""
    levels = [part for part in path.split("/") if part not in ("", "api", "v1")]
    parts = ["By" + _camel(part.strip("{}")) if part.startswith("{") else _camel(part) for part in levels]
    return method.lower() + "".join(parts)


def _camel(word: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"\W|_", word))


def _operation(method: str, path: str, operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    told = {one.name: one for one in operation.parameters}
    within = re.findall(r"{(\w+)}", path)
    path_schema = {"type": "string", "minLength": 1}
    parameters = [told.get(name) or Parameter(name, path_schema, place="path", required=True) for name in within]
    parameters += [one for one in operation.parameters if one.name not in within]
    answers = {**_ALWAYS, **(_ASKED if operation.callers else {}), **(_ELSEWHERE if within else {})}
    answers |= operation.answers
    found: dict[str, Any] = {
        "operationId": name_of(method, path),
        "summary": operation.summary,
        "security": [{scheme: []} for scheme in operation.callers],
        "parameters": [_parameter(one) for one in parameters],
        "responses": {str(status): _answer(answers[status], schemas) for status in sorted(answers)},
    }
    if operation.body is not None:
        note = {"description": operation.body.description} if operation.body.description else {}
        found["requestBody"] = {**note, "required": True, "content": _content(operation.body, schemas)}
    return found


def _parameter(one: Parameter) -> dict[str, Any]:
    found: dict[str, Any] = {"name": one.name, "in": one.place, "required": one.required, "schema": dict(one.schema)}
    if one.listed:
        found |= {"style": "form", "explode": False}
    return found | ({"description": one.description} if one.description else {})


def _answer(answer: Answer, schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"description": answer.meaning}
    if answer.content is not None:
        found["content"] = _content(answer.content, schemas)
    more = {"headers": answer.headers, "links": answer.links}
    return found | {key: dict(value) for key, value in more.items() if value}


def _content(content: Content, schemas: dict[str, Any]) -> dict[str, Any]:
    schema = content.schema
    shape = _schema(schema, schemas) if isinstance(schema, Typed) else dict(schema)
    example = {} if content.example is None else {"example": content.example}
    return {content.media: {"schema": shape, **example}}


class _Untitled(GenerateJsonSchema):
    """A field's name says as much as a title that is made of it."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _schema(typed: Typed, schemas: dict[str, Any]) -> dict[str, Any]:
    """The type's schema; what it is made of comes into ``schemas``."""
    template = f"#/components/schemas/{{model}}{typed.suffix}"
    adapter = typed.type if isinstance(typed.type, TypeAdapter) else TypeAdapter(typed.type)
    whole = adapter.json_schema(by_alias=True, mode=typed.mode, ref_template=template, schema_generator=_Untitled)
    parts = whole.pop("$defs", {})
    if "properties" in whole:
        parts[whole["title"]] = whole
        whole = {"$ref": template.format(model=whole["title"])}
    for name, part in parts.items():
        schemas[name + typed.suffix] = _told(typed, part)
    return {"allOf": [whole, dict(typed.where)]} if typed.where else whole


def _told(typed: Typed, part: dict[str, Any]) -> dict[str, Any]:
    if typed.mode == "serialization" and "properties" in part:
        return part | {"required": list(part["properties"])}
    return _zeroed(part) if typed.loose else part


def _zeroed(part: dict[str, Any]) -> dict[str, Any]:
    """Null wherever there is a value, and nothing that must be there."""
    found = {key: value for key, value in part.items() if key != "required"}
    if "properties" in found:
        found["properties"] = {name: _or_null(one) for name, one in found["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = _or_null(found[key])
    if "anyOf" in found:
        found["anyOf"] = [_zeroed(arm) for arm in found["anyOf"]]
    return found


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    default = {"default": schema["default"]} if "default" in schema else {}
    bare = _zeroed({key: value for key, value in schema.items() if key != "default"})
    arms = bare.get("anyOf", [bare])
    return {"anyOf": [*(arm for arm in arms if arm != {"type": "null"}), {"type": "null"}]} | default
