"""The life of a job whose file a person submitted: it waits for no instrument, wherever it goes wrong."""

import pytest

from contracts.errors import Conflict
from contracts.models import State, Status
from contracts.rules import advance
from tests.support import stories as s
from tests.support.stories import NOW, told

WAY = [s.submitted(), s.requested(), s.started(), s.reported(), s.confirmed(), s.archived(), s.previewed()]


def test_it_goes_from_received_to_complete_without_a_word_of_an_instrument():
    states = [told(WAY[:count]).state for count in range(1, len(WAY) + 1)]
    assert states == [
        *(State.RECEIVED, State.RUNNING, State.RUNNING, State.PROCESSED, State.DELIVERED, State.COMPLETE),
        State.COMPLETE,
    ]
    assert told(WAY).status == Status.COMPLETE


def test_without_outputs_it_is_complete_once_its_pipeline_is_confirmed():
    assert told([*WAY[:3], s.reported(outputs=None), s.confirmed()]).state is State.COMPLETE


def test_an_instruments_job_still_waits_until_its_results_are_fetched():
    assert told(s.full_story()[:7]).state is State.DELIVERING


def test_submitting_it_again_changes_nothing_wherever_it_is():
    for count in range(1, len(WAY) + 1):
        job = told(WAY[:count])
        assert advance(job, s.submitted(), NOW + 5) is job


def test_a_chosen_task_is_applied_at_its_launch():
    assert told([s.submitted(task_id="task-2")]).applied_task == "task-2"


def test_a_damaged_image_is_not_waited_for_since_nobody_can_send_it_again():
    job = told([*WAY[:3], s.damaged()])
    assert (job.state, job.reason) == (State.QUARANTINED, "not what arrived")
    assert told([WAY[0], s.damaged()]).state is State.QUARANTINED


@pytest.mark.parametrize("end", [[s.reported(status="PipelineFailed", outputs=None), s.confirmed()], [s.cancelled()]])
def test_what_failed_or_was_cancelled_can_go_on_with_the_image_that_is_here(end):
    job = told([*WAY[:3], *end, s.released()])
    assert job.state is State.RECEIVED
    assert job.input_file.dir_name == "/gw/in"


def test_a_task_is_applied_to_one_that_no_task_had_wanted():
    job = told([WAY[0], s.unmatched(), s.applied()])
    assert (job.state, job.applied_task, job.input_file.dir_name) == (State.RECEIVED, "task-2", "/gw/in")


def test_an_archived_or_removed_image_is_to_be_submitted_again_and_never_waited_for():
    with pytest.raises(Conflict, match="submit the file once more"):
        advance(told(WAY), s.applied(), NOW)
    gone = told([WAY[0], s.cancelled(), s.expired(), s.removed()])
    with pytest.raises(Conflict, match="submit the file once more"):
        advance(gone, s.released(), NOW)
    unmatched = told([WAY[0], s.unmatched(), s.expired(), s.removed()])
    with pytest.raises(Conflict, match="submit the file once more"):
        advance(unmatched, s.applied(), NOW)


def test_no_fact_of_an_instrument_moves_it():
    job = told(WAY[:1])
    assert told([s.created(), s.sending(), s.input_delivered()], job=job) is job
