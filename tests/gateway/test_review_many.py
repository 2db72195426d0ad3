"""Many results judged at once: all that a filter leaves, as they were counted; each with who and why in its history."""

import pytest

from tests.support import stories as s


@pytest.fixture
def call(house):
    async def called(body):
        return await house.call(house.jobs, "POST", "/api/v1/jobs/review", json=body)

    return called


@pytest.fixture
async def three(house):
    for name in ("one", "two", "three"):
        await house.store.apply(s.full_story(name))
    await house.store.apply([s.created("on its way", "c.tiff")])


async def test_what_was_counted_is_judged_and_nothing_that_came_later(house, call, three):
    counted = (await call({"Verification": 1, "DryRun": True})).json()
    assert counted["Count"] == 3
    await house.store.apply(s.full_story("later"))
    body = {"Verification": 1, "Reason": "all sharp", "Through": counted["Through"]}
    answer = (await call(body)).json()
    assert (answer["Changed"], answer["After"], len(answer["Verdicts"])) == (3, None, 3)
    assert (await house.store.get("later")).verification == 0
    line = (await house.store.history("two"))[-1]
    assert (line["What"], line["By"], line["Why"]) == ("review: accepted", "reviewer", "all sharp")
    assert (await call(body)).json()["Changed"] == 0, "asked again it changes nothing"
    assert len([one for one in await house.store.history("two") if one["What"] == "review: accepted"]) == 1


async def test_by_ids_each_has_its_own_verdict_and_none_hinders_the_others(house, call, three):
    answer = (await call({"Verification": 2, "Ids": ["one", "on its way", "none", "one"]})).json()
    told = {one["Id"]: one["Status"] for one in answer["Verdicts"]}
    assert (answer["Changed"], told) == (1, {"one": 200, "on its way": 409, "none": 404})
    assert (await house.store.get("one")).verification == 2


async def test_a_filter_narrows_and_goes_on_page_by_page(house, call, three, monkeypatch):
    monkeypatch.setattr("gateway.job_repository.review.STEP", 2)
    assert (await call({"Verification": 1, "Instrument": "elsewhere", "DryRun": True})).json()["Count"] == 0
    first = (await call({"Verification": 1})).json()
    assert (first["Changed"], first["After"] is None) == (2, False)
    second = (await call({"Verification": 1, "After": first["After"]})).json()
    assert (second["Changed"], second["After"]) == (1, None)
    back = (await call({"Verification": 0, "Judged": 1, "Name": "no such", "Task": ""})).json()
    assert back["Changed"] == 0


@pytest.mark.parametrize(("body", "word"), [
    ({}, "Verification"), ({"Verification": 7}, "Verification"),
    ({"Verification": 1, "Ids": ["a"], "Name": "b"}, "not both"),
    ({"Verification": 1, "Nmae": "b"}, "Nmae"), ({"Verification": 1, "After": -1}, "After"),
])  # fmt: skip
async def test_what_cannot_be_meant_is_refused_by_name(call, body, word):
    answer = await call(body)
    assert (answer.status_code, word in answer.text) == (400, True)


async def test_of_two_who_judge_the_last_is_right_and_both_stand_in_the_history(house, three):
    for word, why in ((1, "sharp"), (2, "a bubble")):
        body = {"Verification": word, "Reason": why}
        assert (await house.call(house.jobs, "PUT", "/api/v1/job/one/review", json=body)).status_code == 200
    assert (await house.store.get("one")).verification == 2
    said = [(line["What"], line["Why"]) for line in await house.store.history("one")][-2:]
    assert said == [("review: accepted", "sharp"), ("review: rejected", "a bubble")]


async def test_the_rejects_agree_with_the_last_word_whoever_speaks(house, three):
    async def agree(*ids):
        return (await house.call(house.sender, "POST", "/api/v1/rejects", json={"Ids": list(ids)})).json()

    async def say(job, word):
        await house.call(house.jobs, "PUT", f"/api/v1/job/{job}/review", json={"Verification": word})

    jobs = {name: await house.store.get(name) for name in ("one", "two")}
    for job in jobs.values():
        place = house.files.archive / job.input_file.archive_name.rpartition("/")[2]
        place.write_bytes(b"image")
        await house.store.change(
            job.id,
            lambda old, place=place: old.evolve(input_file=old.input_file.evolve(archive_name=str(place), name=old.id)),
            "test",
            "placed",
        )
    await say("one", 2)
    assert await agree("one", "two", "none") == {"Done": 2, "Troubles": [{"Id": "none", "Error": (await agree("none"))["Troubles"][0]["Error"]}]}  # fmt: skip  # noqa: E501
    kept = [path.name for path in house.files.reject.rglob("*") if path.is_file()]
    assert kept == ["one"]
    await say("one", 1)
    assert (await house.call(house.sender, "POST", "/api/v1/rejects/one")).status_code == 200
    assert not [path for path in house.files.reject.rglob("*") if path.is_file()]
    assert (await house.call(house.sender, "POST", "/api/v1/rejects", json={})).status_code == 400
