"""What the pages of batches say, without a browser."""

from contracts.batches import Batch, Entry, What
from contracts.models import State
from gateway.dashboard.views import submit as views
from tests.support import stories as s
from tests.support.stories import told


def test_a_batch_has_ended_when_all_its_jobs_have_however_they_ended():
    running = views.progress({"running": 1, "complete": 2, "failed": 1})
    assert (running.jobs, running.ended, running.percent, running.running) == (4, 3, 75, True)
    assert [(count.state, count.tone, count.jobs) for count in running.counts] == [
        *(("running", "running", 1), ("complete", "good", 2), ("failed", "bad", 1))
    ]
    assert not views.progress({"cancelled": 1, "unmatched": 1}).running
    assert views.progress({}).percent == 0


def test_a_batch_may_have_no_name_and_a_task_that_is_gone_is_called_by_its_id():
    line = views.line(Batch(id="12345678-9", task="task-that-is-gone"), {})
    assert (line.name, line.task) == ("", "task-tha")
    assert views.line(Batch(id="x", name="plate", task="t"), {"t": "Nuclei"}).task == "Nuclei"


def test_a_job_is_shown_with_its_folder_its_trouble_in_full_and_a_way_on_if_there_is_one():
    given_up = told([s.submitted(folder="plate 1"), s.cancelled(reason="no " + "x" * 200)])
    row = views.row(given_up)
    assert (row.name, row.state, row.retry) == ("plate 1/a.tiff", "cancelled", True)
    assert row.said.endswith("x" * 200)
    done = views.row(told([s.submitted(), s.requested(), s.reported(outputs=None), s.confirmed()]))
    assert (done.name, done.state, done.said, done.retry) == ("a.tiff", str(State.COMPLETE), "CellCount, 5", False)


def test_an_archive_that_is_unpacked_is_under_way():
    waiting, refused = Entry(name="a.zip", what=What.UNPACKING), Entry(name="b", what=What.REFUSED)
    assert views.under_way([refused, waiting])
    assert not views.under_way([refused])
    assert (views.tone(waiting), views.tone(refused)) == ("running", "bad")


def test_addresses_and_queries_hold_what_was_asked_and_no_more():
    assert views.address("a/b", state="failed", after="") == "/batches/a%2Fb?state=failed"
    assert views.address("a") == "/batches/a"
    assert views.wanted("a", {"state": "failed", "limit": "9", "batch": "other"}) == {
        **{"batch": "a", "order": "asc", "limit": "100", "state": "failed"}
    }
