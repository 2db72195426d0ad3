"""What an operator may do to jobs, state by state."""

import pytest

from contracts.errors import Conflict
from contracts.models import FINAL, ErrorDetails, State
from contracts.rules import advance
from contracts.states import MAX_ATTEMPTS, MAX_FAILURES
from tests.support import stories as s
from tests.support.stories import NOW, told

STORY = s.full_story()
ON_THEIR_WAY = {
    "created": told(STORY[:1]),
    "sending": told(STORY[:2]),
    "received": told(STORY[:3]),
    "running": told(STORY[:5]),
    "processed": told(STORY[:6]),
    "delivering": told(STORY[:7]),
    "delivered": told(STORY[:8]),
}
COMPLETE = told(STORY)
UNMATCHED = told([STORY[0], s.unmatched()])
FAILED = told([*STORY[:6], s.confirmed(missing="o.tiff")])


@pytest.mark.parametrize("state", ON_THEIR_WAY)
def test_a_cancelled_job_says_who_ended_it_and_why_and_hears_no_late_report(state):
    job = advance(ON_THEIR_WAY[state], s.cancelled(), NOW)
    assert (job.state, job.owner, job.status, job.held_state) == (State.CANCELLED, "none", "FileErrored", State(state))
    assert job.reason == "cancelled by operator: wrong plate"
    assert job.error_details == ErrorDetails(owner=ON_THEIR_WAY[state].owner, error="the job was cancelled")
    assert (job.lease_holder, job.lease_until, job.not_before) == ("", 0, 0)
    for late in [*STORY[1:9], s.damaged(), s.worker_released(), s.failed_step(State(state)), s.cancelled()]:
        assert advance(job, late, NOW) is job


@pytest.mark.parametrize(("state", "back"), [
    ("created", "sending"), ("sending", "sending"), ("received", "received"), ("running", "received"),
    ("processed", "received"), ("delivering", "delivering"), ("delivered", "delivered"),
])  # fmt: skip
def test_a_cancelled_job_can_be_released_and_goes_all_the_way(state, back):
    job = advance(advance(ON_THEIR_WAY[state], s.cancelled(), NOW), s.released(), NOW)
    assert (job.state, job.reason, job.held_state) == (State(back), "", None)
    rest = [fact.model_copy(update={"attempt": 0}) if hasattr(fact, "attempt") else fact for fact in STORY]
    assert told(rest, job=job).state is State.COMPLETE


def test_a_run_that_was_cancelled_cannot_report_for_the_run_after_the_release():
    """Its process may still be at work: runs are told apart for ever, also those of one worker."""
    first = told(STORY[:5])
    again = told([s.cancelled(), s.released(), s.requested(), s.started()], job=first)
    assert (again.state, again.lease_holder, again.attempts) == (State.RUNNING, "w1", 2)
    with pytest.raises(Conflict, match="run 1 of job job-1 by w1 is over"):
        advance(again, s.reported(worker="w1", attempt=1), NOW)


def test_a_released_job_has_as_many_attempts_as_a_new_one():
    job = told(STORY[:4]).evolve(attempts=MAX_ATTEMPTS)
    job = advance(job, s.started(), NOW)
    assert job.state is State.QUARANTINED
    job = told([s.released(), s.requested(), s.started()], job=job)
    assert (job.state, job.attempts, job.spared) == (State.RUNNING, MAX_ATTEMPTS + 1, MAX_ATTEMPTS)


@pytest.mark.parametrize("state", [name for name in ON_THEIR_WAY if name != "running"])
def test_a_retry_ends_a_back_off_and_keeps_the_count_of_failures(state):
    job = advance(ON_THEIR_WAY[state], s.failed_step(State(state), retry_at=NOW + 60), NOW)
    now = advance(job, s.retried(), NOW)
    assert (now.state, now.not_before, now.failures) == (State(state), 0, 1)
    assert advance(now, s.retried(), NOW) is now


def test_a_retry_of_a_job_whose_pipeline_is_silent_has_it_launched_anew_and_a_working_one_is_left_alone():
    silent = told([*STORY[:3], s.requested(lease_until=NOW + 900)])
    job = advance(silent, s.retried(), NOW)
    assert (job.state, job.lease_until, job.pipeline_details.status) == (State.RECEIVED, 0, "")
    working = ON_THEIR_WAY["running"]
    assert advance(working, s.retried(), NOW) is working


@pytest.mark.parametrize("job", [COMPLETE, UNMATCHED, advance(told(STORY[:2]), s.cancelled(), NOW)])
def test_a_job_that_ended_well_unmatched_or_cancelled_has_nothing_to_retry(job):
    with pytest.raises(Conflict, match=r"nothing to retry; (apply a task to|release) it"):
        advance(job, s.retried(), NOW)


def test_a_retry_releases_a_job_that_was_given_up():
    assert advance(FAILED, s.retried(), NOW).state is State.RECEIVED


def test_a_task_sends_an_unmatched_job_on_its_way_once():
    job = advance(UNMATCHED, s.applied(), NOW)
    assert (job.state, job.owner, job.applied_task, job.begun) == (State.SENDING, "file-sender-oem", "task-2", NOW)
    unmatched_again = told([s.input_delivered(), s.unmatched()], job=job)
    assert unmatched_again.state is State.UNMATCHED
    assert advance(unmatched_again, s.applied(), NOW) is unmatched_again
    newer = advance(unmatched_again, s.applied(version=NOW + 2), NOW)
    assert newer.state is State.RECEIVED  # its file lies at the gateway already
    assert newer.earlier == ()


def second_round(job, version: int = NOW + 1):
    requested = s.requested(task_id="task-2", task_version=version)
    reported = s.reported().model_copy(update={"task_id": "task-2", "results": "CellCount, 6"})
    return told([s.input_delivered(), requested, s.started(worker="w2"), reported, *STORY[6:]], job=job)


def test_a_complete_job_is_processed_again_and_what_it_had_is_remembered():
    again = advance(COMPLETE.evolve(verification=1), s.applied(), NOW)
    assert (again.state, again.verification, again.input_file.archive_name) == (State.SENDING, 0, "")
    assert (again.input_file.hostname, again.input_file.dir_name) == ("oem", "/oem/in/")
    done = second_round(again)
    assert (done.state, done.pipeline_details.results) == (State.COMPLETE, "CellCount, 6")
    (first,) = done.earlier
    assert (first.state, first.verification, first.pipeline_details) == (State.COMPLETE, 1, COMPLETE.pipeline_details)
    assert first.input_file.archive_name == "/archive/a_input.tiff"


def test_the_version_of_a_task_that_a_job_was_processed_by_is_not_applied_to_it_again():
    done = second_round(advance(COMPLETE, s.applied(), NOW))
    assert advance(done, s.applied(), NOW) is done
    third = advance(done, s.applied(version=NOW + 2), NOW)
    assert third.state is State.SENDING
    done = second_round(third, NOW + 2)
    assert len(done.earlier) == 2
    assert advance(done, s.applied(), NOW) is done


@pytest.mark.parametrize(("version", "launched_with", "taken"), [
    (NOW - 5, NOW - 5, False), (NOW + 5, NOW - 5, True), (NOW - 5, 0, False), (NOW + 5, 0, True),
])  # fmt: skip
def test_the_task_that_launched_a_job_counts_as_applied_at_its_version(version, launched_with, taken):
    story = [fact if fact.kind != "pipeline-requested" else s.requested(task_version=launched_with) for fact in STORY]
    job = told(story)
    assert (advance(job, s.applied(task="task-1", version=version), NOW) is not job) == taken


@pytest.mark.parametrize("job", ON_THEIR_WAY.values(), ids=ON_THEIR_WAY)
def test_no_task_is_applied_to_a_job_on_its_way(job):
    assert advance(job, s.applied(), NOW) is job


def test_a_job_whose_file_nobody_has_any_more_keeps_its_results_and_says_so():
    again = advance(COMPLETE, s.applied(), NOW)
    gone = s.failed_step(State.SENDING, retry_at=0, reason="a.tiff is no longer there")
    kept = advance(again, gone, NOW)
    assert (kept.state, kept.status, kept.earlier) == (State.COMPLETE, "Complete", ())
    assert "a.tiff is no longer there" in kept.reason
    assert (kept.pipeline_details, kept.input_file) == (COMPLETE.pipeline_details, COMPLETE.input_file)
    assert advance(kept, s.applied(), NOW).state is State.SENDING  # once the file is back


def test_a_complete_job_that_no_task_wants_any_more_keeps_its_results():
    received = told([s.applied(), s.input_delivered()], job=COMPLETE)
    kept = advance(received, s.unmatched(), NOW)
    assert (kept.state, kept.pipeline_details) == (State.COMPLETE, COMPLETE.pipeline_details)


def test_a_task_can_be_applied_to_a_failed_job_whose_file_lies_at_the_gateway():
    job = advance(FAILED, s.applied(), NOW)
    assert (job.state, job.held_state, job.failures, job.input_file.hostname) == (State.RECEIVED, None, 0, "gateway")
    assert [one.state for one in job.earlier] == [State.FAILED]


def test_a_job_without_an_instrument_and_a_cancelled_one_are_refused_with_the_remedy():
    with pytest.raises(Conflict, match="copy the file in again"):
        advance(UNMATCHED.evolve(origin_host=""), s.applied(), NOW)
    with pytest.raises(Conflict, match="release it instead"):
        advance(advance(told(STORY[:2]), s.cancelled(), NOW), s.applied(), NOW)


@pytest.mark.parametrize("tries", [1, 3, MAX_FAILURES + 2])
def test_a_step_may_have_a_number_of_tries_of_its_own(tries):
    job = told(STORY[:4])
    for turn in range(1, tries + 1):
        assert job.state is State.RUNNING
        job = advance(job, s.failed_step(State.RUNNING, retry_at=NOW + turn, tries=tries), NOW)
    assert (job.state, job.failures) == (State.QUARANTINED, tries)


def test_whatever_an_operator_says_no_end_is_left_but_by_his_word():
    for job in (COMPLETE, UNMATCHED, FAILED):
        assert job.state in FINAL
        for fact in STORY[1:9]:
            assert told([fact], job=job) is job
