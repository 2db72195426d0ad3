"""Every service of a running cytobus is asked what nobody would think of; each answer must be one it describes."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fitting import fitted
from tests.support.fuzzing import Outcome, distinct, fuzz
from tests.support.instance import Instance
from tests.support.laboratory import Laboratory
from tests.support.mosquitto import Mosquitto

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "4"))
SEED = None if "FUZZ_EXAMPLES" in os.environ else 1
SERVICES = (
    *("file-receiver-gateway", "file-sender-gateway", "file-receiver-oem", "file-watcher", "data-organizer"),
    *("file-sender-oem", "pipeline-sim", "mqtt-export", "task-launcher", "job-repository", "dashboard", "stream"),
    "cell-index",
)
PICTURES = "GET /api/v1/pictures/{job_id}/{place}"
SELDOM = {
    *("PATCH /api/v1/files/{upload}", "GET /api/v1/transmitFile/{job_id}/{place}"),
    *(PICTURES, f"{PICTURES}/tiles", f"{PICTURES}/thumbnail"),
    *("POST /api/v1/models", "GET /api/v1/models/{sha256}/content", "POST /api/v1/models/{sha256}/verdict"),
    *("DELETE /api/v1/models/{sha256}", "POST /api/v1/pipelines/{topic}/rollback"),
    *("PUT /api/v1/pipelines/{topic}/model", "DELETE /api/v1/edges/{name}/status"),
    *("POST /api/v1/submissions", "PATCH /api/v1/submissions/{submission}"),
    *("POST /api/v1/vectors/{what}", "POST /api/v1/cells/similar"),
    *("POST /api/v1/map/groups", "GET /api/v1/map/groups/{group}", "DELETE /api/v1/map/groups/{group}"),
}
"""Only fitting values (upload and offset, job and place, a package of a model, a model that was tried,
arrays, an encoder, cells on the map) are
answered well, which chance does not always give; tests/gateway has them in many ways."""
OF_SOMEBODY = {
    *("POST /api/v1/login", "POST /api/v1/password", "POST /api/v1/tokens/rotate", "GET /api/v1/authority"),
    *("POST /api/v1/enrolments/redeem", "GET /api/v1/oidc/login", "GET /api/v1/oidc/callback"),
}
"""On a laptop there is nobody who could log in or come in, no certificate and no OpenID provider: test_security.py,
tests/gateway/test_identities.py and test_oidc.py have these."""


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    broker = Mosquitto()
    instance = Instance(
        tmp_path_factory.mktemp("fuzz") / "data",
        CYTOBUS_PIPELINES__TOPICS='["only-file"]',
        CYTOBUS_EXPORT_URL=broker.url,
        CYTOBUS_STREAM__ON="true",
    )
    try:
        instance.start()
        made = Laboratory(instance)
        made.fill()
        made.fitted = fitted(made)
        yield made
    finally:
        instance.close()
        broker.close()


@pytest.mark.system
@pytest.mark.parametrize("service", SERVICES)
def test_every_answer_is_one_that_is_described_and_no_service_breaks(laboratory: Laboratory, service: str) -> None:
    url = laboratory.instance.url(service)

    outcome = fuzz(
        url,
        service,
        laboratory.known(service),
        laboratory.task_of(),
        examples=EXAMPLES,
        seed=SEED,
        thorough=SEED is None,
    )

    assert distinct(outcome.faults) == []
    assert _never_well(laboratory, service, outcome) == []
    ready = laboratory.instance.ask("GET", service, "/api/v1/ready")
    assert ready.status_code == 200, ready.text


def _never_well(laboratory: Laboratory, service: str, outcome: Outcome) -> list[str]:
    """Operations that were never answered well: of them the test has learned little."""
    described: dict[str, Any] = laboratory.instance.ask("GET", service, "/api/v1/openapi.json").json()["paths"]
    every = {f"{verb.upper()} {path}" for path, item in described.items() for verb in item}
    every -= SELDOM | OF_SOMEBODY | {"GET /api/v1/openapi.json"}  # the latter is where all of this comes from
    seen = {one: outcome.seen.get(one, set()) | laboratory.fitted.get(one, set()) for one in sorted(every)}
    return [f"{one}: {sorted(statuses)}" for one, statuses in seen.items() if min(statuses, default=999) >= 400]
