"""The routes about identities, described."""

from collections.abc import Mapping

from contracts.identity import PEOPLE, Role
from contracts.openapi import (
    ANYBODY,
    AWAY,
    UNREADABLE,
    Answer,
    Content,
    Operation,
    Operations,
    Parameter,
    Schema,
    empty,
    error,
    json,
    number,
    read,
    text,
    words,
)
from gateway.identity import service as bodies

FAULTY: Mapping[int, Answer] = {**UNREADABLE, **AWAY}
CONFLICT: Mapping[int, Answer] = {409: error("It is there already, or the last administrator would be lost.")}
NO_USER: Mapping[int, Answer] = {404: error("There is no such user.")}
SLOWER: Mapping[int, Answer] = {429: error("Too many wrong passwords.", retry=True)}
WHO: Schema = {
    "type": "object",
    "properties": {"Name": words(), "Role": {"enum": [str(role) for role in Role]}, "Check": words()},
    "required": ["Name", "Role", "Check"],
}
REVOKED: Schema = {"type": "object", "properties": {"Revoked": number()}, "required": ["Revoked"]}


def _listed(**fields: Schema) -> Schema:
    return {"type": "array", "items": {"type": "object", "properties": fields, "required": list(fields)}}


def operations() -> Operations:
    """What is served about identities, beside the job repository."""
    return {**_people(), **_by_provider(), **_users(), **_edges(), **_services()}


def _people() -> Operations:
    wrong: Mapping[int, Answer] = {401: error("Name or password is wrong."), **SLOWER}
    return {
        "POST /api/v1/login": Operation(
            "Begin a session",
            {200: json("Who it is; Check goes into X-Cytobus-Check with each change.", WHO), **wrong, **FAULTY},
            body=Content(read(bodies.Login)),
            callers=ANYBODY,
        ),
        "POST /api/v1/logout": Operation("End the session", {200: empty("Ended."), **AWAY}),
        "GET /api/v1/whoami": Operation("Who asks", {200: json("Who it is.", WHO), **AWAY}),
        "POST /api/v1/password": Operation(
            "Change one's own password",
            {200: empty("Changed; all sessions are over."), 403: error("The old one is wrong.")}
            | {**NO_USER, **SLOWER, **FAULTY},
            body=Content(read(bodies.NewPassword)),
        ),
    }


def _by_provider() -> Operations:
    location: Schema = {"Location": {"description": "Where to go on.", "schema": words()}}
    nowhere: Mapping[int, Answer] = {404: error("No OpenID provider is set.")}
    told = (
        Parameter("state", words(), "As the provider was told it."),
        Parameter("code", words(), "The provider's, good once."),
        Parameter("error", words(), "The provider's, instead of a code."),
    )
    return {
        "GET /api/v1/oidc/login": Operation(
            "Log in at the OpenID provider",
            {303: Answer("To the provider.", headers=location), **nowhere, **AWAY},
            callers=ANYBODY,
        ),
        "GET /api/v1/oidc/callback": Operation(
            "Come back from the OpenID provider",
            {
                303: Answer("A session has begun.", headers=location),
                401: error("What the provider sent is not good."),
                403: error("The provider let nobody in, or somebody without a role here."),
                409: error("The name is somebody else's."),
                **nowhere,
                **FAULTY,
            },
            told,
            callers=ANYBODY,
        ),
    }


def _users() -> Operations:
    role: Schema = {"enum": [str(one) for one in PEOPLE]}
    token: Schema = {"type": "object", "properties": {"Token": words()}, "required": ["Token"]}
    return {
        "GET /api/v1/users": Operation(
            "Users", {200: Answer("By name.", Content(_listed(Name=words(), Role=role))), **AWAY}
        ),
        "PUT /api/v1/users/{name}": Operation(
            "Make or change a user", {200: empty("Done."), **CONFLICT, **FAULTY}, body=Content(read(bodies.NewUser))
        ),
        "DELETE /api/v1/users/{name}": Operation(
            "Forget a user", {200: empty("Forgotten."), **NO_USER, **CONFLICT, **AWAY}
        ),
        "POST /api/v1/users/{name}/tokens": Operation(
            "A token for a user's programs", {201: json("It, told this once.", token), **NO_USER, **AWAY}
        ),
        "DELETE /api/v1/users/{name}/tokens": Operation(
            "End all tokens and sessions of a user", {200: Answer("How many.", Content(REVOKED)), **AWAY}
        ),
    }


def _edges() -> Operations:
    code: Schema = {
        "type": "object",
        "properties": {"Name": words(), "Code": words(), "Hours": {"type": "number"}},
        "required": ["Name", "Code", "Hours"],
    }
    name: Schema = {"type": "object", "properties": {"Name": words()}, "required": ["Name"]}
    refused: Mapping[int, Answer] = {403: error("The code, or the word, is not good (any more).")}
    return {
        "GET /api/v1/edges": Operation(
            "Instruments that came in; times in ns",
            {200: Answer("By name.", Content(_listed(Name=words(), Since=number(), Seen=number(), Revoked=number())))}
            | dict(AWAY),
        ),
        "DELETE /api/v1/edges/{name}": Operation(
            "Shut an instrument out", {200: Answer("How many of its words.", Content(REVOKED)), **AWAY}
        ),
        "POST /api/v1/enrolments": Operation(
            "Invite an instrument",
            {201: json("The code, told this once.", code), **FAULTY},
            body=Content(read(bodies.Invitation)),
        ),
        "POST /api/v1/enrolments/redeem": Operation(
            "Come in by a code",
            {201: json("What the instrument is called.", name), **refused, **FAULTY},
            body=Content(read(bodies.Redemption)),
            callers=ANYBODY,
        ),
        "POST /api/v1/tokens/rotate": Operation(
            "Replace an instrument's word",
            {200: empty("The new one is good from now on."), **refused, **FAULTY},
            body=Content(read(bodies.Rotation)),
        ),
        "GET /api/v1/authority": Operation(
            "The root of the gateway's certificate",
            {200: text("PEM."), 404: error("It was not made by cytobus.")},
            callers=ANYBODY,
        ),
    }


def _services() -> Operations:
    who: Schema = {
        "type": ["object", "null"],
        "properties": {"Name": words(), "Role": words(), "Session": {"type": "boolean"}},
        "required": ["Name", "Role", "Session"],
    }
    names = ("Actor", "Role", "Address", "What", "Outcome")
    line = _listed(Seq=number(), At=number(), **dict.fromkeys(names, words()))
    paging = (Parameter("limit", number(1, 1000)), Parameter("before", number(), "Seq of the last page's last line."))
    return {
        "POST /api/v1/introspect": Operation(
            "Whose word it is",
            {200: Answer("Who; null for nobody's.", Content(who)), **FAULTY},
            body=Content(read(bodies.Said)),
        ),
        "POST /api/v1/audit": Operation(
            "Note what was asked for", {200: empty("Kept."), **FAULTY}, body=Content(read(bodies.Note))
        ),
        "GET /api/v1/audit": Operation(
            "What people changed, or tried to", {200: json("Newest first.", line), **FAULTY}, paging
        ),
    }
