"""Which rows a page shows as jobs change; and what a page's address asks for."""

import pytest

from contracts.errors import BadRequest
from contracts.models import InputFile, Job, PipelineDetails, State
from contracts.ports import JobQuery
from gateway.dashboard.views import jobs as views
from gateway.dashboard.views.paging import cursor, heads, paging, token
from gateway.dashboard.views.times import moment_in
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
    assert (query.name_contains, query.states, query.limit) == (None, (State.FAILED,), views.ROWS[0])
    assert query.updated_since == 10**13 - 3600 * 10**9


def test_a_filter_that_cannot_be_read_is_refused():
    with pytest.raises(BadRequest):
        views.asked({"state": "nonsense"}, now=1)


def test_the_way_on_and_back_is_in_the_address():
    name = {"name": "x"}
    first = paging(name, name, "77")
    assert (first.first, first.before, first.next) == ("", "", "/?name=x&after=77&trail=0")
    second = paging(name, name | {"after": "77", "trail": "0"}, "40")
    assert (second.before, second.next) == ("/?name=x", "/?name=x&after=40&trail=0.77")
    third = paging(name, name | {"after": "40", "trail": "0.77"}, "")
    assert (third.first, third.before, third.next) == ("/?name=x", "/?name=x&after=77&trail=0", "")


@pytest.mark.parametrize("mark", ["", "1795212693520638770", "zweite Größe~.tif", "板 1.tif"])
def test_a_cursor_comes_back_from_an_address_as_it_was(mark):
    said = token("77", mark)
    assert "." not in said
    assert cursor(said) == {"after": "77"} | ({"mark": mark} if mark else {})


def test_a_way_back_that_would_be_too_long_for_an_address_begins_later():
    page = paging({}, {"after": "9" * 3000, "trail": "8" * 3000}, "7")
    assert page.next.endswith("trail=" + "9" * 3000)


@pytest.mark.parametrize("said", ["x", "-1", "5~!", "5~gA==", "9" * 30])
def test_a_cursor_that_is_none_is_refused(said):
    with pytest.raises(BadRequest, match="after is"):
        cursor(said)


def test_a_column_turns_round_when_it_is_asked_for_again():
    found = heads({"name": "x"}, "changed", "desc")
    assert [found[one].aria for one in ("name", "registered", "changed")] == ["none", "none", "descending"]
    assert found["changed"].address == "/?name=x&sort=changed&order=asc"
    assert found["name"].address == "/?name=x&sort=name&order=asc"
    assert heads({}, "name", "asc")["name"].aria == "ascending"


def test_jobs_of_a_time_are_sorted_by_it_if_nothing_else_is_asked():
    assert views.order({}) == ("registered", "desc")
    assert views.order({"to": "2026-11-01T10:00"}) == ("changed", "desc")
    assert views.order({"since": "hour", "sort": "name"}) == ("name", "asc")
    assert views.asked({"rows": "200"}, 1).limit == 200
    assert views.asked({"rows": "5000"}, 1).limit == 50


def test_times_are_those_of_the_place_where_they_were_written():
    hour = 3600 * 10**9
    utc = moment_in("from", "2026-01-10T08:30", "")
    assert utc - moment_in("from", "2026-01-10T08:30", "Asia/Tokyo") == 9 * hour
    assert moment_in("from", "2026-01-10T08:30", "No/Where") == utc
    query = views.asked({"from": "2026-01-10T08:30", "to": "2026-01-10T09:30", "since": "hour"}, now=10 * hour)
    assert (query.updated_since, query.updated_until) == (utc, utc + hour)


@pytest.mark.parametrize("said", ["yesterday", "1960-01-01T00:00", "9999-01-01T00:00"])
def test_a_time_that_is_none_is_refused_by_the_fields_name(said):
    with pytest.raises(BadRequest, match="to is"):
        views.asked({"to": said}, 1)


def by_change(*jobs: Job, **query: object) -> Window:
    return window(*jobs, sort="changed", **query)


def test_sorted_by_change_what_changes_comes_to_the_top():
    shown = by_change(job("c", 3), job("b", 2), job("a", 1))
    assert shown.change([job("a", 1, updated=9)]) == ({"a"}, True)
    assert list(shown.jobs) == ["a", "c", "b"]
    assert shown.change([job("old", 1, updated=10)]) == ({"old"}, True)
    assert (list(shown.jobs), shown.stale) == (["old", "a", "c"], False)


@pytest.mark.parametrize("query", [{"after": 7, "mark": "5"}, {"newest_first": False}])
def test_on_other_pages_sorted_by_change_rows_are_read_anew(query):
    shown = by_change(job("c", 3), **query)
    assert shown.change([job("c", 3, updated=9)]) == ({"c"}, False)
    assert shown.stale


@pytest.mark.parametrize(("name", "stale"), [("b.tif", True), ("0.tif", True), ("z.tif", False)])
def test_sorted_by_name_a_new_job_has_rows_read_anew_where_it_lies_among_them(name, stale):
    shown = window(*(job(one, 1, name=f"{one}.tif") for one in "acd"), sort="name", newest_first=False)
    shown.change([job("new", 9, name=name)])
    assert (shown.stale, len(shown.jobs)) == (stale, 3)


@pytest.mark.parametrize(("results", "line"), [
    ('{"count": 61, "area": 312.0, "big": 12250.4, "list": [1]}', "count 61 · area 312 · big 12250"),
    ("CellCount, 5", "CellCount, 5"), ("", ""), ("[1, 2]", "[1, 2]"), ("{broken", "{broken"),
])  # fmt: skip
def test_a_result_is_said_in_one_line(results, line):
    assert views.result_line(results) == line
