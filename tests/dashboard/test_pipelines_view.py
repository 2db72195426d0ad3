"""What the page of pipelines makes of what is known of them."""

from gateway.dashboard.views.pipelines import figures_of, pipelines

NOW = 10**18
MODEL = {"Reason": "", "By": "ada", "At": 7, "Seconds": 0.0, "About": {}, "Pipeline": "nuclei"}
OWN = {"version": "1", "sha256": "ab" * 32, "about": {}}
NONE = {"Models": None, "Choices": None}


def registered(topic: str = "nuclei", age: int = 1, **about) -> dict:
    words = {"name": "N", "description": "d", "worker": "w", "parameters": {}, "about": about}
    return {"subscriptionTopic": topic, "lastSeen": str(NOW - age * 10**9), **words}


def test_a_pipeline_is_alive_while_its_runner_is_heard_of():
    found = pipelines([registered(age=60), registered(age=91)], NONE, [], NOW)
    assert [one.alive for one in found] == [True, False]


def test_jobs_and_choices_are_those_of_the_pipeline():
    counts = [{"Pipeline": "nuclei", "Waiting": 3, "Oldest": 5, "Complete": 9, "Failed": 2}]
    models = {"Models": [], "Choices": [{"Pipeline": "nuclei", "Sha256": "", "Paused": True, "CanRollBack": True}]}
    one, other = pipelines([registered(), registered("other")], models, counts, NOW)
    assert (one.waiting, one.oldest, one.complete, one.failed, one.paused, one.can_roll_back) == (
        3,
        5,
        9,
        2,
        True,
        True,
    )
    assert (other.waiting, other.failed, other.paused, other.can_roll_back) == (0, 0, False, False)


def test_the_model_that_a_pipeline_comes_with_stands_before_those_that_were_uploaded_for_it():
    uploaded = [
        MODEL | {"Version": "2", "Sha256": "cd" * 32, "State": "ready", "Seconds": 0.0153},
        MODEL | {"Version": "3", "Sha256": "ef" * 32, "State": "refused", "Reason": "not finite"},
        MODEL | {"Version": "4", "Sha256": "00" * 32, "State": "new", "Pipeline": "other"},
    ]
    models = {"Models": uploaded, "Choices": [{"Pipeline": "nuclei", "Sha256": "cd" * 32}]}
    (one,) = pipelines([registered(model=OWN)], models, [], NOW)
    told = [(line.version, line.sha256[:2], line.state, line.used, line.own, line.ms) for line in one.models]
    assert told == [
        ("1", "", "ready", False, True, ""),
        ("2", "cd", "ready", True, False, "15.3"),
        ("3", "ef", "refused", False, False, ""),
    ]
    (own,) = pipelines([registered(model=OWN)], NONE, [], NOW)[0].models
    assert own.used


def test_a_pipeline_without_a_model_has_none_to_choose_from():
    assert pipelines([registered()], NONE, [], NOW)[0].models == []


def test_the_first_figures_of_a_card_are_of_the_test_split_and_what_is_no_figure_is_left_out():
    fluo = {"f1": 0.91234, "images": 3, "note": "good", "odd": True}
    found = figures_of({"metrics": {"val": {"f1": 1}, "test": {"fluo": fluo}}})
    assert found == [("test · fluo · f1", "0.9123"), ("val · f1", "1")]
    assert len(figures_of({"metrics": {"a": {str(n): n for n in range(99)}}})) == 12
    assert figures_of({"metrics": "none"}) == figures_of({}) == []


def test_a_whole_card_says_the_same_headlines_as_the_short_one_of_the_model_that_ships():
    short = {"f1": 0.9, "count_error": 0.05}
    groups = ("fluo", "histology", "brightfield_grey")
    whole = {"objects": 149, **short, "average_precision": {"0.50": 0.6}}
    cards = [{"metrics": {"test": {p: dict.fromkeys(groups, one) for p in ("fp32", "int8")}}} for one in (short, whole)]
    assert figures_of(cards[0]) == figures_of(cards[1])
    assert len(figures_of(cards[1])) == 12, "each group in each precision"


def test_pipelines_with_models_stand_first():
    listed = [registered("a"), registered("b", model=OWN), registered("c")]
    assert [one.topic for one in pipelines(listed, NONE, [], NOW)] == ["b", "a", "c"]
