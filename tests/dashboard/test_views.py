"""What pages show, without a browser."""

import json

import pytest

from contracts.models import Files, Job, OutputFile, PipelineDetails, State
from gateway.dashboard.views import job as jobs
from gateway.dashboard.views import measurements, review, system, tasks
from gateway.dashboard.words import speaker
from tests.support import stories as s


@pytest.mark.parametrize(("name", "made", "kind"), [
    ("a.tif", False, "picture"), ("a_labels.tif", True, "labels"), ("a_mask.PNG", True, "labels"),
    ("labels_overlay.png", True, "picture"), ("cells.csv", True, "table"), ("a.txt", True, "other"),
    ("a_labels.tif", False, "picture"), ("noending", True, "other"),
])  # fmt: skip
def test_a_file_is_what_its_name_says(name, made, kind):
    assert jobs.kind_of(name, made=made) == kind


@pytest.mark.parametrize(("facts", "actions"), [
    (s.full_story()[:4], ["retry", "cancel"]), (s.full_story(), []), ([s.created(), s.cancelled()], ["release"]),
])  # fmt: skip
def test_only_what_can_be_done_is_offered(facts, actions):
    assert jobs.actions(s.told(facts)) == actions


def test_an_image_is_shown_once_it_is_here_and_as_long_as_it_is():
    job = s.told(s.full_story()[:3])
    files = jobs.files(job)
    assert jobs.pictures(job, files, []) == []
    here = jobs.pictures(job, files, [{"What": "input-delivered"}])
    assert [one.place for one in here] == ["input"]
    assert jobs.pictures(job, files, [{"What": "input-delivered"}, {"What": "task-applied", "To": "sending"}]) == []
    assert jobs.pictures(job.evolve(files=Files.REMOVED), files, [{"What": "input-delivered"}]) == []


@pytest.mark.parametrize(("results", "model"), [
    ('{"count": 2, "model": {"version": "1", "sha256": "ab", "name": "nuclei", "place": "openvino"}}',
     jobs.Model("nuclei", "1", "ab", "openvino")),
    ('{"model": {"version": 7, "sha256": null}}', jobs.Model("", "7", "", "")),
    ('{"model": "nuclei"}', None), ('{"count": 2}', None), ("[1]", None), ("61 nuclei", None), ("", None),
])  # fmt: skip
def test_a_job_says_which_model_made_its_result_if_the_pipeline_does(results, model):
    assert jobs.model_of(Job(id="a", pipeline_details=PipelineDetails(results=results))) == model


def test_the_time_line_says_how_long_each_step_took_and_never_less_than_nothing():
    line = {"By": "a", "Why": "", "What": "x"}
    history = [line | {"At": 10, "From": "", "To": "created"}, line | {"At": 5, "From": "created", "To": "created"}]
    first, second = jobs.steps(history)
    assert (first.state, first.after, second.state, second.after) == ("created", 0, "", 0)


def test_a_table_is_read_with_its_numbers_and_the_cut_last_line_is_left_out():
    content = b"\xef\xbb\xbfid,area,note\n1,10.5,a\n2,20.5,b\n3,30"
    table = measurements.read(content, whole=False)
    assert (table.columns, len(table.rows)) == (("id", "area", "note"), 2)
    assert table.numeric == ("id", "area")
    assert measurements.read(b"", whole=True).rows == ()
    assert measurements.read(b"a\tb\n1\t2\n", whole=True).columns == ("a", "b")


def test_a_histogram_counts_every_value_once():
    found = measurements.histogram("area", [1.0, 1.0, 2.0, 5.0])
    assert (found.least, found.most, found.median, found.mean) == ("1", "5", "1.5", "2.25")
    counts = [int(bar.said.rpartition(": ")[2]) for bar in found.bars]
    assert (sum(counts), max(counts)) == (4, found.highest)
    assert measurements.histogram("area", [3.0, 3.0]).highest == 2
    assert measurements.histogram("area", []) is None


def complete(job_id: str) -> Job:
    return Job(id=job_id, state=State.COMPLETE, pipeline_details=PipelineDetails(output_files=(OutputFile(),)))


def test_the_queue_knows_its_place_and_keeps_its_filters():
    queue = [complete(name) for name in ("a", "b", "c")]
    place = review.placed(queue, {"job": "b", "task": "t"})
    assert (place.before, place.next) == ("/review?task=t&job=a", "/review?task=t&job=c")
    assert review.placed(queue, {}).job_id == "a"
    assert review.placed(queue, {"job": "c", "task": "t"}).queue == "/review?task=t"
    assert review.placed([], {}).job_id == ""
    judged = review.placed(queue, {"job": "judged before"})
    assert (judged.job_id, judged.next) == ("judged before", "/review?job=a")


def test_the_whole_filter_is_judged_as_the_queue_is_filtered():
    params = {"task": "t", "name": "dapi", "hostname": "", "verification": "2", "job": "x"}
    assert review.bulk(params) == {"Task": "t", "Name": "dapi", "Judged": 2}
    assert review.bulk({}) == {"Judged": 0}


def test_a_page_of_reviews_changes_when_what_it_shows_does():
    one = complete("a")
    assert review.concerns({}, [one], "")
    assert review.concerns({"task": "other"}, [one], "a"), "the one that is looked at"
    assert not review.concerns({"task": "other"}, [one], "b")
    assert not review.concerns({}, [one.evolve(state=State.RUNNING)], "")


def test_the_last_word_of_reviewers_is_told_with_who_said_it():
    lines = [{"What": f"review: {word}", "By": by, "Why": ""} for word, by in (("accepted", "a"), ("rejected", "b"))]
    assert review.last_word([*lines, {"What": "put x", "By": "c", "Why": ""}]) == {"by": "b", "why": ""}
    assert review.last_word([]) is None


@pytest.mark.parametrize(("facts", "word"), [
    ([s.created(), s.unmatched()], "no-task"), ([s.created(), s.cancelled()], "cancelled"), (s.full_story(), ""),
])  # fmt: skip
def test_trouble_is_told_with_what_helps(facts, word):
    assert jobs.remedy(s.told(facts)) == word


def test_a_job_is_run_again_only_by_tasks_that_want_anything_and_when_it_has_ended():
    tasks_ = [{"Id": "a"}, {"Id": "b", "Disabled": True}]
    assert jobs.others(s.told(s.full_story()), tasks_) == [{"Id": "a"}]
    assert jobs.others(s.told([s.created()]), tasks_) == []


@pytest.mark.parametrize("said", ["", "9", "x"])
def test_what_is_to_be_judged_is_the_queue_when_nothing_else_is_asked(said):
    assert review.wanted({"verification": said})["verification"] == "0"


@pytest.mark.parametrize(("rule", "line"), [
    ({"in": ["dapi", {"var": "InputFile.Name"}]}, 'Name contains "dapi"'),
    ({"and": [{"==": [{"var": "InputFile.Attributes.channel"}, "1"]},
              {"!": [{"in": [{"var": "InputFile.Extension"}, [".a", ".b"]]}]}]},
     'channel = "1" and not (Extension is one of ".a", ".b")'),
    ({"or": [{"and": [True, False]}, {"<": [{"var": "InputFile.Size"}, 5]}]}, "(true and false) or Size < 5"),
    ({"ends_with": [{"var": "InputFile.Name"}, "_w1.tif"]}, 'Name ends with "_w1.tif"'),
    ({"some": [{"var": "x"}, True]}, '{"some": [{"var": "x"}, true]}'), (True, "true"),
])  # fmt: skip
def test_a_rule_is_said_in_words_where_there_are_any(rule, line):
    assert tasks.told(json.dumps(rule), speaker("en")) == line


def test_a_rule_is_said_in_the_language_of_the_page():
    rule = {"and": [{"in": ["a", {"var": "InputFile.Name"}]}, {"starts_with": [{"var": "InputFile.Name"}, "b"]}]}
    assert tasks.told(json.dumps(rule), speaker("zh")) == 'Name 包含 "a" 且 Name 开头是 "b"'


def test_a_rule_that_is_none_is_said_as_it_is():
    assert tasks.told("{broken", speaker("en")) == "{broken"


METRICS = """# TYPE cytobus_jobs gauge
cytobus_jobs{state="running"} 3
cytobus_jobs{state="complete"} 9
# TYPE cytobus_jobs_ended counter
cytobus_jobs_ended_total{state="complete"} %d
cytobus_jobs_ended_total{state="failed"} 1
# TYPE cytobus_job_seconds histogram
cytobus_job_seconds_bucket{le="+Inf"} %d
cytobus_job_seconds_count %d
cytobus_job_seconds_sum %d
# TYPE cytobus_oldest_unfinished_job_age_seconds gauge
cytobus_oldest_unfinished_job_age_seconds 7
"""


def test_charts_are_of_what_came_between_and_a_restart_is_nothing_negative():
    samples = [system.sample(METRICS % (n, n, n, 2 * n), at) for n, at in ((0, 0), (10, 60), (2, 120), (2, 180))]
    assert (samples[1].ended, samples[1].unfinished, samples[1].oldest) == (11, 3, 7)
    found = {chart.key: chart for chart in system.charts(samples)}
    assert (found["throughput"].most, found["throughput"].last) == ("10", "0")
    assert found["latency"].most == "2"
    assert all(chart.points == "" for chart in system.charts(samples[:1]))


def test_a_day_of_samples_is_thinned_to_what_a_line_can_show_with_the_newest_always_there():
    samples = [system.Sample(float(at), at, 0, 0, 0, 0) for at in range(0, 86_400, 10)]
    day, hour = system.thinned(samples, 24), system.thinned(samples, 1)
    assert len(day) <= system.MOST_POINTS
    assert day[-1] == hour[-1] == samples[-1]
    assert hour[0].at >= samples[-1].at - 3600
    assert system.thinned([], 1) == []
    chart = system.charts(samples, 24)[0]
    assert (chart.levels, chart.end) == (("60", "30", "0"), 86_390 * 10**9)


WORK = """# TYPE cytobus_desk_in_hand gauge
cytobus_desk_in_hand{desk="launch"} 3
# TYPE cytobus_desk_queue gauge
cytobus_desk_queue{desk="launch"} 5
# TYPE cytobus_desk_trouble gauge
cytobus_desk_trouble{desk="launch"} 1
# TYPE cytobus_disk_free_bytes gauge
cytobus_disk_free_bytes{place="output"} 15
# TYPE cytobus_disk_least_bytes gauge
cytobus_disk_least_bytes{place="output"} 10
# TYPE cytobus_outbox_messages gauge
cytobus_outbox_messages 7
"""


def test_queues_and_room_are_read_from_what_services_tell_of_their_work():
    found = system.figures({"task-launcher": WORK})
    (queue,), (place,) = found.queues, found.places
    assert (queue.service, queue.name, queue.waiting, queue.in_hand, bool(queue.trouble)) == (
        "task-launcher", "launch", 5, 3, True
    )  # fmt: skip
    assert (place.free, place.tone, found.outbox, found.bus_away) == (15, "waiting", 7, False)
    assert system.Place("a", 9, 10).tone == "bad"
    assert system.Place("a", 99, 10).tone == "good"
