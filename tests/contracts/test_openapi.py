"""How a document is made of routes, models and descriptions."""

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.models import Model, Text
from contracts.openapi import (
    ANYBODY,
    Content,
    Operation,
    Parameter,
    differences,
    document,
    empty,
    error,
    json,
    name_of,
    number,
    read,
    read_loosely,
    written,
)


class Crumb(Model):
    size: int = 0


class Loaf(Model):
    """Bread."""

    name: Text = ""
    crumbs: tuple[Crumb, ...] = ()
    weight: int | None = None


class Order(BaseModel):
    loaves: int


async def _answer(_request: Request) -> Response:
    return Response()


ROUTES = [
    Route("/api/v1/loaf", _answer, methods=["GET"]),
    Route("/api/v1/loaf", _answer, methods=["POST"]),
    Route("/api/v1/loaf/{kind:path}", _answer, methods=["HEAD", "DELETE"]),
]
OPERATIONS = {
    "GET /api/v1/loaf": Operation(
        "Loaves", {200: json("All.", written(list[Loaf]))}, (Parameter("limit", number(1, 9)),), callers=ANYBODY
    ),
    "POST /api/v1/loaf": Operation("Bake", {201: empty("Baked.")}, body=Content(read_loosely(Loaf))),
    "DELETE /api/v1/loaf/{kind:path}": Operation("Eat", {200: empty("Eaten."), 404: error("All gone.", retry=True)}),
    "HEAD /api/v1/loaf/{kind:path}": Operation("Smell", {200: empty("Good.")}, body=Content(read(Order))),
}


@pytest.fixture
def made() -> dict[str, Any]:
    return document("bakery", "1.2", ROUTES, OPERATIONS)


def test_it_is_an_openapi_document(made: dict[str, Any]) -> None:
    assert list(OpenAPIV31SpecValidator(made).iter_errors()) == []
    assert made["openapi"].startswith("3.1")
    assert made["info"]["title"] == "cytobus bakery"


def test_every_route_is_there_and_a_get_does_not_name_its_head(made: dict[str, Any]) -> None:
    assert {path: set(item) for path, item in made["paths"].items()} == {
        "/api/v1/loaf": {"get", "post"},
        "/api/v1/loaf/{kind}": {"head", "delete"},
    }


def test_what_is_written_has_all_its_fields(made: dict[str, Any]) -> None:
    loaf = made["components"]["schemas"]["Loaf"]
    assert set(loaf["required"]) == set(loaf["properties"]) == {"Name", "Crumbs", "Weight"}
    assert loaf["properties"]["Name"]["type"] == "string"


def test_what_is_read_as_go_reads_it_may_be_null_everywhere(made: dict[str, Any]) -> None:
    loaf, crumb = (made["components"]["schemas"][name] for name in ("LoafIn", "CrumbIn"))
    assert "required" not in loaf
    assert all(
        {"type": "null"} in one["anyOf"] for one in [*loaf["properties"].values(), *crumb["properties"].values()]
    )
    assert made["components"]["schemas"]["OrderExact"]["required"] == ["loaves"]


def test_who_may_ask_and_the_answers_that_follow_from_it(made: dict[str, Any]) -> None:
    public, mine = made["paths"]["/api/v1/loaf"]["get"], made["paths"]["/api/v1/loaf/{kind}"]["delete"]
    assert (public["security"], mine["security"]) == ([], [{"bearer": []}, {"session": []}])
    assert set(public["responses"]) == {"200", "400"}
    assert set(mine["responses"]) == {"200", "400", "401", "403", "404"}
    assert mine["responses"]["404"]["headers"].keys() == {"Retry-After"}
    assert [one["name"] for one in mine["parameters"]] == ["kind"]


def test_what_does_not_fit_together_is_named() -> None:
    assert differences(ROUTES, OPERATIONS) == []
    told = dict(OPERATIONS)
    told["PUT /api/v1/loaf"] = told.pop("POST /api/v1/loaf")
    assert differences(ROUTES, told) == [
        "POST /api/v1/loaf: not described",
        "PUT /api/v1/loaf: there is no such route",
    ]


@pytest.mark.parametrize(("method", "path", "name"), [
    ("GET", "/metrics", "getMetrics"),
    ("PUT", "/api/v1/job/{job_id}/history", "putJobByJobIdHistory"),
    ("GET", "/api/v2/ping", "getV2Ping"),
])  # fmt: skip
def test_operations_have_names(method: str, path: str, name: str) -> None:
    assert name_of(method, path) == name
