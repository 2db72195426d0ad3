"""The outbox reaches the bus, whatever becomes of the bus; and what runs beside the routes runs by itself."""

import hashlib
import logging

import pytest
import sqlalchemy as sa

from contracts.bus.local import LocalBus
from contracts.errors import Rejected, Unavailable
from contracts.events import jobs_in
from contracts.models import State, Task
from gateway.job_repository.relay import BATCH, Relay
from tests.support import stories as s
from tests.support.house import noting
from tests.support.waiting import eventually


class WeakBus(LocalBus):
    """Refuses so many messages before it carries any."""

    def __init__(self, refusals: int, error: Exception) -> None:
        super().__init__()
        self.refusals, self.error = refusals, error

    async def publish(self, topic: str, payload: bytes, *, key: str = "") -> None:
        if self.refusals:
            self.refusals -= 1
            raise self.error
        await super().publish(topic, payload, key=key)


@pytest.mark.parametrize("error", [Unavailable("the broker is away"), OSError("a bug")])
async def test_what_the_bus_refuses_waits_in_the_outbox_and_leaves_later_in_order(house, caplog, error):
    caplog.set_level(logging.CRITICAL)
    bus, heard = WeakBus(3, error), []
    relay = Relay(bus, house.outbox_store, every=0.01)
    await house.store.apply([s.created("a"), s.created("b")])
    await house.store.apply([s.sending("a")])
    async with bus.subscribe("g", {"edgex/events/#": noting(heard)}), relay.running():
        await eventually(lambda: "the broker is away" in relay.trouble or "a bug" in relay.trouble)
        await eventually(lambda: len(heard) == 3)
        await eventually(lambda: not house.outbox())
        # The database shows the end a moment before the relay hears of it.
        await eventually(lambda: relay.trouble == "")
    # In order within each job; jobs do not wait for each other.
    assert [d.topic for d in heard if d.key == "a"] == [jobs_in(State.CREATED, "oem"), jobs_in(State.SENDING, "oem")]
    assert [d.topic for d in heard if d.key == "b"] == [jobs_in(State.CREATED, "oem")]


async def test_a_topic_that_the_bus_refuses_holds_up_no_other_job(house, caplog):
    """Though more messages wait for it than are read at once."""
    caplog.set_level(logging.CRITICAL)

    class HalfClosed(LocalBus):
        closed = True

        async def publish(self, topic: str, payload: bytes, *, key: str = "") -> None:
            if self.closed and topic.endswith("/created"):
                raise Unavailable("the group mqtt-export does not keep up")
            await super().publish(topic, payload, key=key)

    bus, heard = HalfClosed(), []
    stuck = [f"stuck-{number}" for number in range(BATCH + 100)]
    await house.store.apply([s.created(name) for name in stuck])
    await house.store.apply([s.sending(stuck[0])])
    relay = Relay(bus, house.outbox_store, every=0.01)
    async with bus.subscribe("g", {"#": noting(heard)}), relay.running():
        await eventually(lambda: relay.trouble)
        await house.store.apply([s.created("free"), s.sending("free")])
        await house.database.writer.run(
            lambda tx: tx.execute(sa.text("DELETE FROM outbox WHERE key = 'free' AND topic LIKE '%/created'"))
        )
        relay.wake()
        await eventually(lambda: [delivery.key for delivery in heard] == ["free"])
        assert relay.trouble
        bus.closed = False
        await eventually(lambda: not house.outbox(), seconds=20)
        await eventually(lambda: relay.trouble == "")
    mine = [delivery.topic for delivery in heard if delivery.key == stuck[0]]
    assert mine == [jobs_in(State.CREATED, "oem"), jobs_in(State.SENDING, "oem")]


async def test_a_message_that_the_bus_will_never_take_holds_up_nobody(house, caplog):
    caplog.set_level(logging.CRITICAL)
    bus, heard = WeakBus(1, Rejected("larger than the broker takes")), []
    relay = Relay(bus, house.outbox_store, every=0.01)
    await house.store.apply([s.created("a")])
    await house.store.apply([s.sending("a")])
    async with bus.subscribe("g", {"edgex/events/#": noting(heard)}), relay.running():
        await eventually(lambda: not house.outbox())
    assert [d.topic for d in heard] == [jobs_in(State.SENDING, "oem")]
    assert (relay.published, relay.dropped) == (1, 1)


async def test_a_crash_between_publishing_and_forgetting_says_it_twice_and_loses_nothing(house):
    heard: list = []
    await house.store.apply([s.created("a")])

    class Crashing(LocalBus):
        async def publish(self, topic: str, payload: bytes, *, key: str = "") -> None:
            await super().publish(topic, payload, key=key)
            if len(house.outbox()) == 1 and not crashed:
                crashed.append(True)
                raise Unavailable("the process died here")

    crashed: list = []
    bus = Crashing()
    async with bus.subscribe("g", {"#": noting(heard)}), Relay(bus, house.outbox_store, every=0.01).running():
        await eventually(lambda: len(heard) == 2)
        await eventually(lambda: not house.outbox())
    assert heard[0].payload == heard[1].payload


async def test_a_job_goes_its_way_through_the_running_gateway_by_its_announcements(house):
    """The instrument's part and the pipeline's are played by the test; the rest runs by itself."""
    anything = '{"in":["",{"var":"InputFile.Name"}]}'
    await house.launcher.create(Task(description="d", job_selector=anything, pipeline_id="p", result_file_folder="out"))
    (house.files.input / "a.csv").write_text("data")
    sha256 = hashlib.sha256(b"data").hexdigest()
    (house.files.root / "out").mkdir()
    (house.files.root / "out" / "o.csv").write_text("result")

    def state_is(state):
        async def reached():
            return (await house.one()).state is state

        return reached

    async with house.jobs.running(), house.launcher.running(), house.sender.running():
        await house.jobs.report(
            [s.created(name="a.csv"), s.input_delivered(folder=str(house.files.input), sha256=sha256)]
        )
        await eventually(state_is(State.RUNNING))
        details = (await house.one()).pipeline_details
        outputs = [{"Name": "o.csv", "Extension": ".csv", "DirName": details.output_folder}]
        answer = {"Status": "PipelineComplete", "OutputFiles": outputs, "Results": "5"}
        path = f"job-1/{details.task_id}"
        assert (await house.call(house.jobs, "PUT", f"/api/v1/job/pipeline/{path}", json=answer)).status_code == 200
        status = f"/api/v1/pipelineStatus/{path}"
        assert (await house.call(house.launcher, "POST", status, content="PipelineComplete")).status_code == 200
        assert (await house.one()).state is State.DELIVERING
        assert (await house.call(house.sender, "GET", "/api/v1/transmitFile/job-1/0")).text == "result"
        await house.jobs.report([s.outputs_delivered()])
        await eventually(state_is(State.COMPLETE))

        async def seen():
            return (await house.one()).previewed

        await eventually(seen)
    job = await house.one()
    assert job.input_file.viewable == job.input_file.archive_name
    assert sorted(path.suffix for path in house.files.archive.iterdir()) == [".csv", ".csv"]
    whats = [line["What"] for line in await house.store.history("job-1")]
    assert whats == [
        "job-created", "input-delivered", "pipeline-requested", "pipeline-reported", "pipeline-confirmed",
        "outputs-delivered", "outputs-archived", "previews-made",
    ]  # fmt: skip
