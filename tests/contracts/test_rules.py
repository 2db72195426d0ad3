"""Properties of a job's life, whatever is told of it, and in which order."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import AppError, Conflict, NotFound, TooEarly
from contracts.events import FACTS, JobCancelled, JobReleased, JobRetried, TaskApplied
from contracts.models import FINAL, Job, Owner, State, Status
from contracts.rules import advance, read_back
from contracts.states import MAX_ATTEMPTS, MAX_FAILURES, RANK, WORDS
from tests.support import stories as s
from tests.support.stories import NOW, told

STORY = s.full_story()
STORIES = [
    STORY,
    [*STORY[:5], s.reported(outputs=None), s.confirmed()],
    [*STORY[:5], s.reported(status="PipelineFailed", outputs=None, reason="no cells"), s.confirmed()],
    [*STORY[:6], s.confirmed(missing="o.tiff")],
    [STORY[0], s.unmatched()],
    [*STORY[:4], *[s.failed_step(State.RUNNING, retry_at=NOW + n) for n in range(1, MAX_FAILURES + 1)]],
    [*STORY[:8], s.failed_step(State.DELIVERED, retry_at=0)],
]
TIMES = st.integers(NOW - 5, NOW + 200)
ANY_TIME = st.sampled_from([0, NOW - 1, NOW + 1, NOW + 60, NOW + 300])
NOISE = st.one_of(
    st.sampled_from([fact for story in STORIES for fact in story]),
    st.builds(s.failed_step, st.sampled_from(State), retry_at=ANY_TIME, trouble=st.sampled_from(s.Trouble)),
    st.builds(s.started, worker=st.sampled_from(["w1", "w2"]), until=ANY_TIME),
    st.builds(s.worker_released, worker=st.sampled_from(["w1", "w2"])),
    st.builds(s.requested, pipeline=st.sampled_from(["only-file", "other"]), lease_until=ANY_TIME),
    st.builds(s.reported, status=st.sampled_from(["PipelineComplete", "PipelineFailed"]), confirm_from=ANY_TIME),
    st.builds(s.input_delivered, sha256=st.sampled_from([s.DIGEST, "ff" * 32])),
    st.sampled_from([s.released(), s.retried(), s.cancelled(), s.unmatched()]),
    st.builds(s.applied, task=st.sampled_from(["task-1", "task-2"]), version=st.sampled_from([NOW - 1, NOW + 1])),
)
LIVES = st.tuples(st.sampled_from(STORIES), st.integers(0, 10), st.lists(st.tuples(NOISE, TIMES), max_size=8))


OPERATORS = (JobReleased, JobRetried, JobCancelled, TaskApplied)


def lived(life, *, with_operators: bool = True) -> list[Job]:
    """Every version of a job that walked part of a story, and then heard noise."""
    story, steps, noise = life
    versions: list[Job] = []
    for fact, at in [*[(fact, NOW) for fact in story[:steps]], *noise]:
        if isinstance(fact, OPERATORS) and not with_operators:
            continue
        try:
            versions.append(advance(versions[-1] if versions else None, fact, at))
        except AppError:
            continue
    return versions


@given(LIVES, NOISE, TIMES)
@settings(max_examples=120, deadline=None)
def test_hearing_any_fact_twice_changes_nothing(life, fact, at):
    job = told([], job=(lived(life) or [None])[-1])
    try:
        once = advance(job, fact, at)
    except AppError:
        return
    try:
        assert advance(once, fact, at) is once
    except Conflict:
        assert isinstance(fact, JobReleased)  # nothing is left to release, and nothing was changed


@given(st.sampled_from(STORIES[:5]), st.data())
@settings(max_examples=120, deadline=None)
def test_facts_may_arrive_in_any_order_if_early_ones_are_told_again(story, data):
    order = data.draw(st.permutations(story))
    assert _without_traces(told([*order] * len(order))) == _without_traces(told(story))


def _without_traces(job: Job) -> Job:
    """What an order may leave: a start heard after the end is not counted, and old instruments archive unheard."""
    return job.evolve(attempts=0, pipeline_details=job.pipeline_details.evolve(output_file_host=""))


@given(LIVES)
@settings(max_examples=120, deadline=None)
def test_without_an_operators_word_a_job_never_moves_back_nor_leaves_an_end(life):
    versions = lived(life, with_operators=False)
    for old, new in itertools.pairwise(versions):
        if old.state in FINAL:
            assert new.state is old.state
        else:
            assert new.state in FINAL or RANK[new.state] >= RANK[old.state]


@given(LIVES)
@settings(max_examples=120, deadline=None)
def test_jobs_and_facts_survive_the_wire(life):
    story, _, noise = life
    for job in lived(life):
        assert Job.model_validate_json(job.model_dump_json(by_alias=True)) == job
    facts = [*story, *(fact for fact, _ in noise)]
    assert FACTS.validate_json(FACTS.dump_json(facts, by_alias=True)) == facts


@given(LIVES, NOISE, TIMES)
@settings(max_examples=120, deadline=None)
def test_every_fact_in_every_state_is_taken_or_refused_with_a_meaning(life, fact, at):
    for job in [None, *lived(life)]:
        outcome = answer_to(job, fact, at)
        assert isinstance(outcome, Job | TooEarly | Conflict | NotFound)
        assert str(outcome)
        if job is None:
            assert isinstance(outcome, NotFound) or fact.kind == "job-created"


def answer_to(job, fact, at):
    try:
        return advance(job, fact, at)
    except AppError as error:
        return error


@given(LIVES)
@settings(max_examples=120, deadline=None)
def test_a_job_always_says_the_contracts_words_for_its_state_and_they_can_be_read_back(life):
    for job in lived(life):
        owner, status = WORDS[job.state]
        assert job.owner == owner
        given_up = (Status.PIPELINE_ERROR, Status.TRANSMISSION_FAILED, Status.FILE_ERRORED)
        assert job.status in (given_up if job.state in (State.FAILED, State.QUARANTINED) else (status,))
        # "quarantined" and "cancelled" are our words; the contract's file-receiver-oem owns a job while it still pulls.
        same = {State.QUARANTINED: State.FAILED, State.CANCELLED: State.FAILED, State.DELIVERED: State.DELIVERING}
        assert read_back(job.owner, job.status, job.pipeline_details.status) is same.get(job.state, job.state)


@given(LIVES)
@settings(max_examples=120, deadline=None)
def test_only_a_running_job_is_leased_and_only_a_waiting_one_backs_off(life):
    for job in lived(life):
        if job.state is not State.RUNNING:
            assert (job.lease_holder, job.lease_until) == ("", 0)
        if job.state in FINAL:
            assert job.not_before == 0
        assert (job.held_state is not None) == (job.state in (State.FAILED, State.QUARANTINED, State.CANCELLED))
        if job.state in (State.FAILED, State.QUARANTINED, State.UNMATCHED, State.CANCELLED):
            assert job.reason
            assert job.error_details.owner in set(Owner)
            assert job.error_details.error in set(s.Trouble)
        assert job.failures <= MAX_FAILURES
        assert 0 <= job.attempts - job.spared <= MAX_ATTEMPTS
