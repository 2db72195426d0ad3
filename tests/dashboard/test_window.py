"""Which rows a page shows as jobs change; and what a page's address asks for."""

import pytest

from contracts.errors import BadRequest
from contracts.models import InputFile, Job, PipelineDetails, State
from contracts.ports import JobQuery
from gateway.dashboard.views import jobs as views
from gateway.dashboard.window import Window


def job(job_id: str, created: int, state: State = State.RUNNING, name: str = "a.tif", updated: int = 0) -> Job:
    return Job(
        id=job_id,
        created=created,
        last_updated=updated or created,
        state=state,
        origin_host="oem",
        input_file=InputFile(name=name),
        pipeline_details=PipelineDetails(task_id="t1"),
    )


def window(*jobs: Job, **query: object) -> Window:
    made = Window(JobQuery(**({"limit": 3} | query)))
    made.show(jobs)
    return made


def test_a_row_that_is_shown_is_drawn_anew_and_stays_where_it_is():
    shown = window(job("b", 2), job("a", 1))
    assert shown.change([job("a", 1, State.COMPLETE, updated=9)]) == ({"a"}, False)
    assert shown.jobs["a"].state is State.COMPLETE


def test_news_that_comes_late_does_not_turn_a_row_back():
    shown = window(job("a", 1, State.COMPLETE, updated=9))
    assert shown.change([job("a", 1, State.RUNNING, updated=5)]) == (set(), False)
    assert shown.jobs["a"].state is State.COMPLETE


def test_new_jobs_come_in_at_the_top_newest_first_and_push_the_oldest_out():
    shown = window(job("c", 3), job("b", 2), job("a", 1))
    assert shown.change([job("d", 4), job("e", 5)]) == ({"d", "e"}, True)
    assert list(shown.jobs) == ["e", "d", "c"]


def test_of_more_news_than_fit_only_what_is_shown_is_drawn():
    shown = window(job("a", 1))
    drawn, moved = shown.change([job(str(n), n) for n in range(2, 10)])
    assert (drawn, moved) == ({"9", "8", "7"}, True)


def test_an_old_job_that_changes_does_not_come_to_the_first_page():
    assert window(job("c", 30), job("b", 20)).change([job("a", 1)]) == (set(), False)


@pytest.mark.parametrize("query", [
    {"states": (State.FAILED,)}, {"name_contains": "xyz"}, {"task": "t2"}, {"origin_host": "other"},
    {"after": 7}, {"newest_first": False}, {"pipeline": "p"},
])  # fmt: skip
def test_what_the_page_does_not_ask_for_does_not_come_in(query):
    assert window(**query).change([job("n", 9)]) == (set(), False)


def test_a_job_that_was_deleted_leaves():
    shown = window(job("b", 2), job("a", 1))
    assert shown.change([], gone=["b"]) == (set(), True)
    assert list(shown.jobs) == ["a"]


def test_empty_filters_do_not_narrow_and_times_are_counted_from_now():
    query = views.asked({"name": "", "state": "failed", "since": "hour", "unknown": "x"}, now=10**13)
    assert (query.name_contains, query.states, query.limit) == (None, (State.FAILED,), views.ROWS)
    assert query.updated_since == 10**13 - 3600 * 10**9


def test_a_filter_that_cannot_be_read_is_refused():
    with pytest.raises(BadRequest):
        views.asked({"state": "nonsense"}, now=1)


def test_the_way_on_and_back_is_in_the_address():
    first = views.paging({"name": "x"}, 77)
    assert (first.first, first.before, first.next) == ("", "", "/?name=x&after=77&trail=0")
    second = views.paging({"name": "x", "after": "77", "trail": "0"}, 40)
    assert (second.before, second.next) == ("/?name=x", "/?name=x&after=40&trail=0.77")
    third = views.paging({"name": "x", "after": "40", "trail": "0.77"}, None)
    assert (third.first, third.before, third.next) == ("/?name=x", "/?name=x&after=77&trail=0", "")


@pytest.mark.parametrize(("results", "line"), [
    ('{"count": 61, "area": 312.0, "big": 12250.4, "list": [1]}', "count 61 · area 312 · big 12250"),
    ("CellCount, 5", "CellCount, 5"), ("", ""), ("[1, 2]", "[1, 2]"), ("{broken", "{broken"),
])  # fmt: skip
def test_a_result_is_said_in_one_line(results, line):
    assert views.result_line(results) == line
