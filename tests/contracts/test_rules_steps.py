"""Each step of a job's life: what is taken, ignored or refused, and what becomes of failures."""

import pytest

from contracts.errors import Conflict, NotFound, TooEarly
from contracts.models import FINAL, ErrorDetails, InputFile, Job, State, Trouble
from contracts.rules import advance, read_back
from contracts.states import MAX_ATTEMPTS, MAX_FAILURES, ON_ITS_WAY, RANK
from tests.support import stories as s
from tests.support.stories import NOW, told

STORY = s.full_story()
REACHED = {
    "created": told(STORY[:1]),
    "sending": told(STORY[:2]),
    "received": told(STORY[:3]),
    "running": told(STORY[:4]),
    "processed": told(STORY[:6]),
    "delivering": told(STORY[:7]),
    "delivered": told(STORY[:8]),
    "complete": told(STORY[:9]),
    "unmatched": told([STORY[0], s.unmatched()]),
    "failed": told([*STORY[:6], s.confirmed(missing="o.tiff")]),
}
# One letter for each state above: t taken (the job changes), . ignored, e too early, c contradiction.
TABLE = {
    s.created: "..........",
    s.sending: "t.........",
    s.unmatched: "tet.......",
    s.input_delivered: "tt........",
    s.requested: "eet.......",
    s.damaged: "eet.......",
    s.started: "eeet......",
    s.reported: "eeet......",
    s.confirmed: "eeeet.....",
    s.output_damaged: "eeeett....",
    s.outputs_delivered: "eeeeet....",
    s.archived: "eeeeett...",
    s.previewed: ".......t..",
    s.waits: "..t.......",
    s.expired: "cccccccttt",
    s.removed: "..........",
    s.worker_released: "..........",
    s.released: "ccccccccct",
    s.retried: ".......cct",
    s.cancelled: "tttttttccc",
    s.applied: ".......ttt",
}


@pytest.mark.parametrize(("state", "fact", "expected"), [
    pytest.param(state, fact, row[place], id=f"{state}-{fact.__name__}")
    for fact, row in TABLE.items()
    for place, state in enumerate(REACHED)
])  # fmt: skip
def test_each_fact_in_each_state_is_taken_ignored_or_refused(state, fact, expected):
    job = REACHED[state]
    if expected in "ec":
        with pytest.raises(TooEarly if expected == "e" else Conflict):
            advance(job, fact(), NOW)
    else:
        assert (advance(job, fact(), NOW) is not job) == (expected == "t")


def test_the_states_of_the_story_are_reached_in_their_order():
    assert [REACHED[name].state for name in REACHED] == [State(name) for name in REACHED]
    assert told(STORY).previewed is True
    assert told(STORY[:9]).previewed is False


@pytest.mark.parametrize("fact", [fact for fact in STORY if fact.kind != "job-created"], ids=lambda f: f.kind)
def test_nothing_can_be_said_of_a_job_that_does_not_exist(fact):
    with pytest.raises(NotFound, match="job-1"):
        advance(None, fact, NOW)


def test_a_created_job_remembers_where_it_came_from_when_its_file_moves():
    job = told(STORY[:3])
    assert (job.origin_host, job.origin_dir, job.created) == ("oem", "/oem/in/", NOW)
    assert (job.input_file.hostname, job.input_file.dir_name, job.input_file.size) == ("gateway", "/gw/in", 3)
    assert job.input_file.attributes == {"Lab": "L"}


def test_a_file_of_other_content_than_announced_is_refused():
    job = told([s.created(sha256=s.DIGEST)])
    with pytest.raises(Conflict, match="content"):
        advance(job, s.input_delivered(sha256="ff" * 32), NOW)
    assert advance(job, s.input_delivered(), NOW).state is State.RECEIVED


def test_a_report_for_another_task_is_refused():
    with pytest.raises(Conflict, match="task-1, not task-2"):
        advance(REACHED["running"], s.reported().model_copy(update={"task_id": "task-2"}), NOW)


def test_until_it_is_confirmed_a_pipeline_may_report_again_with_other_words():
    job = advance(REACHED["processed"], s.reported(outputs=(), qc_flags="blurred", confirm_from=NOW + 9), NOW)
    assert (job.pipeline_details.qc_flags, job.pipeline_details.output_files) == ("blurred", ())
    assert (job.state, job.not_before) == (State.PROCESSED, NOW + 9)


@pytest.mark.parametrize("state", REACHED)
def test_a_failure_of_another_step_or_of_a_job_that_has_ended_changes_nothing(state):
    for other in State:
        for retry_at in (0, NOW + 1):
            fact = s.failed_step(other, retry_at=retry_at)
            if other is not REACHED[state].state or other in FINAL:
                assert advance(REACHED[state], fact, NOW) is REACHED[state]


def test_a_leased_job_is_nobody_elses_until_the_lease_is_over():
    mine = advance(REACHED["running"], s.started(worker="w1", until=NOW + 60), NOW)
    with pytest.raises(Conflict, match="w1"):
        advance(mine, s.started(worker="w2", until=NOW + 99), NOW + 59)
    assert advance(mine, s.worker_released(worker="w2"), NOW) is mine
    theirs = advance(mine, s.started(worker="w2", until=NOW + 160), NOW + 60)
    assert (theirs.lease_holder, theirs.lease_until, theirs.attempts) == ("w2", NOW + 160, 2)


def test_a_lease_that_is_prolonged_counts_no_attempt_but_one_that_was_lost_does():
    mine = advance(REACHED["running"], s.started(until=NOW + 60), NOW)
    kept = advance(mine, s.started(until=NOW + 100), NOW + 59)
    assert (kept.attempts, kept.lease_until) == (1, NOW + 100)
    assert advance(kept, s.started(until=NOW + 300), NOW + 100).attempts == 2


@pytest.mark.parametrize("wrong", [-3600, 3600])
def test_a_lease_does_not_hang_on_the_workers_clock(wrong):
    second = 10**9
    sign = s.started(until=NOW + wrong * second).model_copy(update={"seconds": 60.0})
    mine = advance(REACHED["running"], sign, NOW)
    assert mine.lease_until == NOW + 60 * second
    kept = advance(mine, sign, NOW + 30 * second)
    assert (kept.lease_until, kept.attempts) == (NOW + 90 * second, 1)


def test_a_sign_of_life_that_was_overtaken_shortens_no_lease_and_one_that_is_too_late_starts_none():
    mine = advance(REACHED["running"], s.started(until=NOW + 60), NOW)
    assert advance(mine, s.started(until=NOW + 40), NOW) is mine
    assert advance(REACHED["running"], s.started(until=NOW), NOW) is REACHED["running"]


def test_a_job_given_back_is_free_at_once():
    mine = advance(REACHED["running"], s.started(), NOW)
    free = advance(mine, s.worker_released(), NOW)
    assert (free.lease_holder, free.lease_until, free.state) == ("", 0, State.RUNNING)
    assert advance(free, s.started(worker="w2"), NOW).attempts == 2


def test_a_job_whose_pipeline_never_finishes_goes_to_quarantine_at_the_cap():
    job = REACHED["running"]
    for turn in range(MAX_ATTEMPTS):
        job = advance(job, s.started(until=NOW + turn + 1), NOW + turn)
        assert (job.state, job.attempts) == (State.RUNNING, turn + 1)
    job = advance(job, s.started(until=NOW + 999), NOW + 500)
    assert (job.state, job.held_state, job.status) == (State.QUARANTINED, State.RUNNING, "PipelineError")
    assert job.reason == f"its pipeline was started {MAX_ATTEMPTS} times and never finished"


def test_a_launched_job_is_told_again_but_not_while_someone_works_on_it():
    waiting = told([*STORY[:3], s.requested(lease_until=NOW + 5)])
    failed = advance(waiting, s.failed_step(State.RUNNING, retry_at=NOW + 9), NOW)
    again = advance(failed, s.requested(lease_until=NOW + 50), NOW)
    assert (again.lease_until, again.failures, again.reason, again.not_before) == (NOW + 50, 1, "disk gone", 0)
    assert again.error_details == failed.error_details
    assert advance(waiting, s.requested(lease_until=0), NOW) is waiting
    leased = advance(waiting, s.started(), NOW)
    assert advance(leased, s.requested(lease_until=NOW + 50), NOW) is leased


def test_two_launchers_that_look_at_once_tell_a_pipeline_once():
    received = told(STORY[:3])
    first = advance(received, s.requested(lease_until=NOW + 5), NOW)
    assert advance(first, s.requested(lease_until=NOW + 6), NOW) is first
    by_operator = s.requested(lease_until=NOW + 6).model_copy(update={"again": True})
    assert advance(first, by_operator, NOW).lease_until == NOW + 6
    # Both see that the time for an answer is over; each complains and tells again.
    silence = s.failed_step(State.RUNNING, retry_at=NOW + 9).model_copy(update={"lease": NOW + 5})
    counted = advance(first, silence, NOW + 9)
    again = advance(counted, s.requested(lease_until=NOW + 50), NOW + 9)
    assert (counted.failures, again.failures, again.lease_until) == (1, 1, NOW + 50)
    assert advance(again, silence, NOW + 9) is again
    assert advance(again, s.requested(lease_until=NOW + 51), NOW + 9) is again


@pytest.mark.parametrize("state", [state for state in REACHED if State(state) not in FINAL])
def test_a_step_that_keeps_failing_backs_off_and_ends_in_quarantine_with_the_reason(state):
    job = start = REACHED[state]
    for turn in range(1, MAX_FAILURES):
        job = advance(job, s.failed_step(job.state, retry_at=NOW + turn), NOW)
        assert (job.state, job.failures, job.not_before) == (start.state, turn, NOW + turn)
        assert job.error_details == ErrorDetails(owner="file-sender-gateway", error=Trouble.ARCHIVE)
        assert job.status == start.status
    job = advance(job, s.failed_step(job.state, retry_at=NOW + 99), NOW)
    assert (job.state, job.held_state, job.failures) == (State.QUARANTINED, start.state, MAX_FAILURES)
    assert job.reason == f"disk gone (tried {MAX_FAILURES} times)"


def test_a_step_that_failed_frees_the_job_for_another_worker():
    leased = told(STORY[:5])
    failed = advance(leased, s.failed_step(State.RUNNING), NOW)
    assert (failed.lease_holder, failed.lease_until) == ("", 0)


def test_success_after_failures_clears_every_mark_of_them():
    failed = advance(REACHED["delivered"], s.failed_step(State.DELIVERED), NOW)
    job = advance(failed, s.archived(), NOW)
    assert (job.failures, job.reason, job.not_before, job.error_details) == (0, "", 0, ErrorDetails())


@pytest.mark.parametrize("state", [state for state in REACHED if State(state) not in FINAL])
def test_a_step_that_is_not_worth_trying_again_fails_the_job_at_once(state):
    job = advance(REACHED[state], s.failed_step(REACHED[state].state, retry_at=0), NOW)
    assert (job.state, job.held_state, job.reason) == (State.FAILED, State(state), "disk gone")


@pytest.mark.parametrize(("trouble", "state", "status", "pipeline"), [
    (Trouble.TRANSMIT_FILE, "sending", "TransmissionFailed", ""),
    (Trouble.TRANSMIT_JOB, "created", "TransmissionFailed", ""),
    (Trouble.TRANSMIT_FILE, "delivering", "FileErrored", "PipelineComplete"),
    (Trouble.WRITE, "delivering", "FileErrored", "PipelineComplete"),
    (Trouble.ARCHIVE, "delivered", "FileErrored", "PipelineComplete"),
    (Trouble.PIPELINE, "running", "PipelineError", "PipelineFailed"),
    (Trouble.VALIDATE_FILE, "processed", "PipelineError", "FileNotFound"),
    (Trouble.VALIDATE_JOB, "processed", "PipelineError", "FileNotFound"),
])  # fmt: skip
def test_a_job_that_was_given_up_says_the_contracts_words_for_the_place_of_the_failure(
    trouble, state, status, pipeline
):
    fact = s.failed_step(REACHED[state].state, retry_at=0, trouble=trouble)
    job = advance(REACHED[state], fact, NOW)
    assert (job.owner, job.status, job.pipeline_details.status) == ("none", status, pipeline)
    assert job.error_details == ErrorDetails(owner="file-sender-gateway", error=trouble)


@pytest.mark.parametrize(("held", "back"), [
    ("created", State.SENDING), ("sending", State.SENDING), ("received", State.RECEIVED), ("running", State.RECEIVED),
    ("processed", State.RECEIVED), ("delivering", State.DELIVERING), ("delivered", State.DELIVERED),
])  # fmt: skip
@pytest.mark.parametrize("retry_at", [0, NOW + 1])
def test_an_operator_brings_a_job_back_to_where_it_stood_and_its_pipeline_is_told_anew(held, back, retry_at):
    job = told([s.failed_step(State(held), retry_at=retry_at and NOW + n) for n in range(9)], job=REACHED[held])
    assert job.state is (State.QUARANTINED if retry_at else State.FAILED)
    free = advance(job, s.released(), NOW)
    assert (free.state, free.held_state, free.failures, free.reason) == (back, None, 0, "")
    assert free.spared == free.attempts == job.attempts
    assert free.error_details == ErrorDetails()
    if back is State.RECEIVED:
        assert (free.pipeline_details.status, free.pipeline_details.output_files) == ("", None)
        assert told(STORY[3:], job=free).state is State.COMPLETE


def test_an_archived_job_keeps_its_pictures_once_they_are_made():
    job = told(STORY)
    assert job.input_file.viewable == "/archive/a_input.jpeg"
    assert job.pipeline_details.output_files[0].viewable == ""  # no picture was made of it


def test_without_outputs_a_confirmed_job_is_complete_and_with_them_they_wait_for_the_sender():
    assert told([*STORY[:4], s.reported(outputs=()), s.confirmed()]).state is State.COMPLETE
    (file,) = REACHED["delivering"].pipeline_details.output_files
    assert (file.status, file.owner) == ("FileIncomplete", "file-sender-gateway")


def test_a_pipelines_failure_with_outputs_is_never_masked_as_complete():
    job = told([*STORY[:4], s.reported(status="PipelineFailed"), s.confirmed()])
    assert (job.state, job.status, job.pipeline_details.status) == (State.FAILED, "PipelineError", "PipelineFailed")


@pytest.mark.parametrize(("words", "state"), [
    (("none", "Complete", ""), State.COMPLETE), (("none", "NoPipelineFound", ""), State.UNMATCHED),
    (("none", "TransmissionFailed", ""), State.FAILED), (("none", "FileErrored", ""), State.FAILED),
    (("none", "Incomplete", ""), None), (("nobody", "Complete", ""), None), (("", "", ""), None),
    (("task-launcher", "Incomplete", "PipelineFailed"), State.PROCESSED),
    (("task-launcher", "Incomplete", "FileNotFound"), State.RUNNING), (("file-watcher", "Incomplete", ""), None),
])  # fmt: skip
def test_the_contracts_words_stand_for_a_state_or_for_none(words, state):
    assert read_back(*words) is state


def test_a_job_can_be_created_with_nothing_known_of_its_content():
    fact = s.created().model_copy(update={"input_file": InputFile(hostname="oem", dir_name="/", name="n")})
    assert isinstance(advance(None, fact, NOW), Job)
    assert RANK[State.COMPLETE] == len(ON_ITS_WAY) - 1


def test_only_the_run_that_holds_the_lease_may_report():
    """A runner that was taken for dead may come back with what it made: another run is on the way, or has ended."""
    first = told(STORY[:5])
    second = advance(first, s.started(worker="w2", until=NOW + 200), NOW + 100)
    assert (first.attempts, second.attempts) == (1, 2)
    with pytest.raises(Conflict, match="w2 has it, run 2"):
        advance(second, s.reported(worker="w1", attempt=1), NOW + 101)
    done = advance(second, s.reported(worker="w2", attempt=2), NOW + 101)
    assert done.state is State.PROCESSED
    assert advance(done, s.reported(worker="w1", attempt=1, outputs=None), NOW + 102) is done
    given_back = advance(second, s.worker_released(worker="w2"), NOW + 101)
    with pytest.raises(Conflict, match="nobody has it"):
        advance(given_back, s.reported(worker="w2", attempt=2), NOW + 102)


def test_a_second_run_of_the_same_worker_outdates_its_first():
    again = advance(told(STORY[:5]), s.started(worker="w1", until=NOW + 300), NOW + 100)
    with pytest.raises(Conflict, match="run 1 of job job-1 by w1 is over"):
        advance(again, s.reported(worker="w1", attempt=1), NOW + 101)


def test_a_damaged_input_is_sent_again_by_the_instrument_that_has_it():
    job = advance(told(STORY[:5]), s.damaged(), NOW)
    assert (job.state, job.reason, job.attempts) == (State.SENDING, "not what arrived", 1)
    assert (job.input_file.hostname, job.input_file.dir_name) == (job.origin_host, job.origin_dir)
    job = told(STORY[2:], job=job)
    assert job.state is State.COMPLETE


def test_only_the_run_that_holds_the_lease_may_call_an_input_damaged():
    job = told(STORY[:5])
    assert advance(job, s.damaged(worker="w2"), NOW) is job
    assert advance(job, s.damaged(attempt=2), NOW) is job


def test_a_damaged_input_that_nobody_can_send_again_is_quarantined():
    job = told(STORY[:3]).evolve(origin_host="gateway")
    assert advance(job, s.damaged(), NOW).state is State.QUARANTINED


def test_an_input_that_is_damaged_again_and_again_is_quarantined():
    job, rounds = told(STORY[:3]), 0
    while job.state is not State.QUARANTINED:
        job = advance(job, s.damaged(worker="", attempt=0), NOW)
        job, rounds = told([s.input_delivered()], job=job), rounds + 1
    assert rounds == MAX_ATTEMPTS


@pytest.mark.parametrize("length", [6, 7], ids=["processed", "delivering"])
def test_a_damaged_output_is_made_again_of_the_image_that_is_still_here(length):
    job = told(STORY[:length])
    again = advance(job, s.output_damaged(), NOW)
    assert (again.state, again.reason, again.attempts) == (State.RECEIVED, "not what was made", 2)
    assert (again.input_file, again.pipeline_details.output_files) == (job.input_file, None)
    assert told(STORY[3:], job=again).state is State.COMPLETE


def test_outputs_that_were_made_again_meanwhile_are_not_those_that_were_damaged():
    again = told(STORY[3:7], job=advance(told(STORY[:7]), s.output_damaged(), NOW))
    assert again.state is State.DELIVERING
    assert advance(again, s.output_damaged(), NOW) is again


def test_an_output_that_is_damaged_again_and_again_is_quarantined():
    job, rounds = told(STORY[:7]), 0
    while job.state is not State.QUARANTINED:
        job, rounds = told(STORY[3:7], job=advance(job, s.output_damaged(attempt=job.attempts), NOW)), rounds + 1
    assert job.attempts - job.spared <= MAX_ATTEMPTS
    assert rounds >= MAX_ATTEMPTS // 2
    assert job.reason == "not what was made"


def test_files_are_removed_in_two_steps_and_none_of_them_twice():
    job = advance(REACHED["complete"], s.expired(), NOW)
    assert (job.files, advance(job, s.expired(), NOW) is job) == ("removing", True)
    gone = advance(job, s.removed(), NOW)
    assert (gone.files, gone.state, advance(gone, s.removed(), NOW) is gone) == ("removed", State.COMPLETE, True)
    assert advance(gone, s.expired(), NOW) is gone


def test_a_job_is_not_released_while_its_files_are_removed_and_then_its_image_is_sent_again():
    removing = advance(REACHED["failed"], s.expired(), NOW)
    with pytest.raises(TooEarly, match="being removed"):
        advance(removing, s.released(), NOW)
    job = advance(advance(removing, s.removed(), NOW), s.released(), NOW)
    assert (job.state, job.files, job.attempts - job.spared) == (State.SENDING, "", 0)
    assert (job.input_file.hostname, job.input_file.dir_name) == ("oem", "/oem/in/")
    assert (job.pipeline_details.output_files, job.pipeline_details.status) == (None, "")


def test_the_files_of_a_quarantined_job_stay():
    job = REACHED["received"].evolve(state=State.QUARANTINED, held_state=State.RECEIVED)
    with pytest.raises(Conflict, match="not removed"):
        advance(job, s.expired(), NOW)
