"""Words: nobody can make one without the secret, and none is good for anything but what it was made for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import policy
from contracts.identity import (
    COMMAND,
    PEOPLE,
    Identity,
    Role,
    launch_word,
    new_word,
    pipeline_of,
    service_of,
    service_word,
    session_check,
)

SECRET, NOW = b"a secret of sixteen", 1_800_000_000.0
texts = st.text(max_size=30)


def test_a_services_word_is_good_for_minutes():
    word = service_word(SECRET, "task-launcher", NOW)
    assert service_of(SECRET, word, NOW) == Identity("task-launcher", Role.SERVICE)
    assert service_of(SECRET, word, NOW - 250) == Identity("task-launcher", Role.SERVICE)  # clocks differ
    assert service_of(SECRET, word, NOW + 601) is None
    assert service_of(b"another secret", word, NOW) is None


@given(texts)
def test_a_services_word_says_its_name_whatever_that_is(name):
    found = service_of(SECRET, service_word(SECRET, name, NOW), NOW)
    assert found is not None
    assert (found.role is Role.ADMIN) == name.startswith(COMMAND)


@given(st.integers(min_value=0), st.characters())
def test_no_changed_word_is_good(place, sign):
    word = service_word(SECRET, "file-sender", NOW)
    place %= len(word)
    changed = word[:place] + sign + word[place + 1 :]
    assert changed == word or service_of(SECRET, changed, NOW) is None


@given(texts, texts, texts, texts, texts, texts)
def test_a_pipelines_word_is_for_one_job_one_task_and_one_launch(job, task, launch, job2, task2, launch2):
    word = launch_word(SECRET, job, task, launch)
    assert pipeline_of(SECRET, word, job, task) == Identity(job, Role.PIPELINE, launch=launch)
    if (job, task) != (job2, task2):
        assert pipeline_of(SECRET, word, job2, task2) is None
    if launch != launch2:
        assert pipeline_of(SECRET, launch2 + word[len(launch) :], job, task) is None


@given(st.text())
def test_nonsense_is_nobodys_word(word):
    assert service_of(SECRET, word, NOW) is None
    assert pipeline_of(SECRET, word, "job", "task") is None


def test_words_are_never_the_same_twice():
    assert len({new_word("cbe_") for _ in range(1000)}) == 1000
    assert session_check(SECRET, "a") != session_check(SECRET, "b")


SERVICES = ["job-repository", "task-launcher", "file-receiver-gateway", "file-sender-gateway", "file-watcher", "x"]
paths = st.sampled_from([
    "/api/v1/job", "/api/v1/job/x", "/api/v1/job/x/history", "/api/v1/task", "/api/v1/task/x", "/api/v1/users",
    "/api/v1/users/x", "/api/v1/edges", "/api/v1/enrolments", "/api/v1/audit", "/api/v1/facts", "/api/v1/claims",
    "/api/v1/claims/x", "/api/v1/introspect", "/api/v1/reject/x", "/api/v1/retry", "/api/v1/jobs/cancel", "/nowhere",
    "/api/v1/job/pipeline/x/y", "/api/v1/pipelineStatus/x/y", "/metrics", "/api/v2/config", "/",
]) | st.text().map(lambda text: "/" + text)  # fmt: skip


@given(st.sampled_from(SERVICES), st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]), paths)
def test_who_has_more_rights_may_whatever_others_may(service, verb, path):
    may = [policy.may(role, service, verb, path) for role in PEOPLE]
    assert may == sorted(may)
    assert policy.may(Role.SERVICE, service, verb, path)
    if verb not in policy.SAFE and not path.startswith(("/api/v1/logout", "/api/v1/password")):
        assert not may[0]  # a viewer changes nothing


@pytest.mark.parametrize("role", [Role.PIPELINE, Role.EDGE])
@given(st.sampled_from(SERVICES), st.sampled_from(["POST", "PUT", "PATCH", "DELETE"]), st.text())
def test_what_is_not_named_is_for_administrators(role, service, verb, path):
    assert not policy.may(role, service, verb, "/api/v1/new/" + path)
    assert not policy.may(Role.OPERATOR, service, verb, "/api/v1/new/" + path)
    assert not policy.open_to_all(verb, "/api/v1/new/" + path)
