"""Announcements of jobs: EdgeX events on EdgeX topics."""

import json
from base64 import b64decode
from pathlib import Path
from uuid import UUID

import pytest

from contracts import edgex
from contracts.announcements import LONGEST_RESULT, announcement
from contracts.bus.topics import topic_matches
from contracts.events import jobs_in
from contracts.models import State
from contracts.rules import advance
from tests.support import stories as s
from tests.support.stories import NOW

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def job():
    return advance(None, s.created(), NOW).evolve(last_updated=NOW)


@pytest.mark.parametrize("raw", [False, True])
def test_it_is_an_event_with_one_object_that_says_which_job_and_where_it_is(job, raw):
    message = announcement(job, raw_payload=raw)
    told = edgex.unpack(message.payload.encode())
    value = edgex.only_object(told.event, source="created", resource="Job")
    assert (value["Id"], value["State"], value["Owner"]) == ("job-1", "created", "data-organizer")
    assert value["LastUpdated"] == str(NOW)
    assert told.correlation_id == "job-1"
    payload = json.loads(message.payload)["payload"]
    assert isinstance(payload, dict) if raw else b64decode(payload)


def test_its_topic_is_edgexs_and_ours_listen_to_one_instrument_or_to_all(job):
    topic = announcement(job).topic
    assert topic == "edgex/events/device/job-repository/Job/oem/created"
    assert topic_matches(jobs_in(State.CREATED), topic)
    assert topic_matches(jobs_in(State.CREATED, "oem"), topic)
    assert topic_matches("edgex/events/#", topic)
    assert not topic_matches(jobs_in(State.CREATED, "scope-2"), topic)
    assert not topic_matches(jobs_in(State.SENDING), topic)


@pytest.mark.parametrize("host", ["", "scope 1", "a/b", "mikroskop.lab", "#", "+"])
def test_any_instruments_name_makes_one_level_of_the_topic(job, host):
    topic = announcement(job.evolve(origin_host=host)).topic
    assert topic.count("/") == 6
    assert topic_matches(jobs_in(State.CREATED), topic)
    if host:
        assert topic_matches(jobs_in(State.CREATED, host), topic)


@pytest.mark.parametrize("raw", [False, True])
def test_its_form_is_the_one_that_was_agreed_with_every_edgex(job, raw):
    """The golden messages are what Go's EdgeX 2.3 to 4 and the Python SDK were seen to understand in this form."""
    made = json.loads(announcement(job, raw_payload=raw).payload)
    payload = made["payload"] if raw else json.loads(b64decode(made["payload"]))
    event = payload["event"]
    assert all(UUID(one["id"]).version == 4 for one in (event, *event["readings"]))
    event["id"] = event["readings"][0]["id"] = "2b7c7f0e-3f64-4b1d-9d0a-0c7f4c1c9a01"
    made["payload"] = payload
    assert made == json.loads((GOLDEN / "edgex_announcement.json").read_text())


def test_long_results_stay_with_the_job(job):
    def results(text):
        details = job.pipeline_details.evolve(results=text)
        told = edgex.unpack(announcement(job.evolve(pipeline_details=details)).payload.encode())
        return told.event.readings[0].object_value["Results"]

    assert results("x" * LONGEST_RESULT) == "x" * LONGEST_RESULT
    assert results("x" * (LONGEST_RESULT + 1)) == ""
