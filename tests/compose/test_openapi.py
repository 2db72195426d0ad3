"""Every service describes itself, wholly and validly."""

from pathlib import Path

import httpx
from openapi_spec_validator import OpenAPIV31SpecValidator

from contracts.hosting import ON_DEMAND, PORTS, app_of
from contracts.openapi import differences, pairs
from contracts.standard import operations_of
from tests.support.services import all_services


async def test_every_route_of_every_service_is_described_and_nothing_else(tmp_path: Path) -> None:
    async with all_services(tmp_path) as services:
        found = {
            name: differences(app_of(service).routes, operations_of(service)) for name, service in services.items()
        }
    assert found.keys() == PORTS.keys() | ON_DEMAND.keys()
    assert [f"{name}: {one}" for name, some in found.items() for one in some] == []


async def test_every_document_is_valid_openapi_and_names_each_operation_once(tmp_path: Path) -> None:
    async with all_services(tmp_path) as services:
        for name, service in services.items():
            app = app_of(service)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
                made = (await client.get("/api/v1/openapi.json")).json()
            assert [str(error) for error in OpenAPIV31SpecValidator(made).iter_errors()] == [], name
            ids = [one["operationId"] for item in made["paths"].values() for one in item.values()]
            assert len(ids) == len(set(ids)) == len(pairs(app.routes)), name
            links = [
                link["operationId"]
                for item in made["paths"].values()
                for one in item.values()
                for answer in one["responses"].values()
                for link in answer.get("links", {}).values()
            ]
            assert set(links) <= set(ids), name


async def test_who_lives_and_what_is_described_is_told_to_anybody_and_pipelines_have_their_token(
    tmp_path: Path,
) -> None:
    async with all_services(tmp_path) as services:
        told = {name: operations_of(service) for name, service in services.items()}
    for name, operations in told.items():
        public = {which for which, operation in operations.items() if not operation.callers}
        assert {"GET /api/v1/health", "GET /api/v2/ping", "GET /api/v3/ping"} <= public, name
    with_token = {which for some in told.values() for which, one in some.items() if "callback" in one.callers}
    assert with_token == {
        "PUT /api/v1/job/pipeline/{job_id}/{task_id}",
        "POST /api/v1/pipelineStatus/{job_id}/{task_id}",
    }
