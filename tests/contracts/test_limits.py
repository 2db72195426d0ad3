"""Limits by client: the bucket's arithmetic, the middleware over real sockets, and a sender that is told to wait."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.client import call
from contracts.errors import Throttled
from contracts.identity import Identity, Role
from contracts.limits import MOST_CLIENTS, Bucket, Limited, Limits, client_of

RATES = st.floats(0.1, 1e6)
STEPS = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 50)), max_size=50)


@given(RATES, STEPS)
def test_over_any_time_no_more_is_let_through_than_the_rate_and_one_burst(rate, steps):
    bucket, now, taken = Bucket.full(rate, 0.0), 0.0, 0.0
    for pause, amount in steps:
        now += pause
        bucket = bucket.filled(now)
        amount = min(amount, bucket.size)
        if bucket.wait(amount) == 0:
            bucket, taken = bucket.without(amount), taken + amount
    assert taken <= (bucket.size + rate * now) * (1 + 1e-9)


@given(RATES, st.floats(0.1, 100))
def test_who_waits_as_long_as_told_is_let_through(rate, debt):
    bucket = Bucket.full(rate, 0.0)
    bucket = bucket.without(bucket.size + debt)
    wait = bucket.wait(1.0)
    assert wait > 0
    assert bucket.filled(wait * (1 + 1e-9) + 1e-6).wait(1.0) == pytest.approx(0, abs=1e-3)


def test_a_clock_that_is_put_back_gives_nothing():
    bucket = Bucket.full(1.0, 100.0).without(2.0)
    assert bucket.filled(50.0).tokens == bucket.tokens


class Bench:
    """An app behind limits, with a clock that the test turns."""

    def __init__(self, **limits: float) -> None:
        self.now, self.served = 0.0, 0
        self.limits = Limits(clock=lambda: self.now, **limits)
        self.app = Limited(
            Starlette(routes=[Route("/{path:path}", self._serve, methods=["GET", "PATCH"])]), self.limits
        )

    async def _serve(self, request: Request) -> Response:
        self.served += 1
        await request.body()
        return Response("fine")

    def client(self, address: str = "10.0.0.1") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(address, 1))
        return httpx.AsyncClient(transport=transport, base_url="http://here")


async def test_a_client_that_asks_too_often_is_told_when_to_come_back_and_others_are_not_disturbed():
    bench = Bench(requests=2.0)
    async with bench.client() as greedy, bench.client("10.0.0.2") as modest:
        answers = [(await greedy.get("/a")).status_code for _ in range(5)]
        assert answers == [200, 200, 200, 200, 429]
        refused = await greedy.get("/a")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "gateway.requests_per_second" in refused.text
        assert (await modest.get("/a")).status_code == 200
        assert (await greedy.get("/api/v1/ready")).status_code == 200
        bench.now += 1.0
        assert [(await greedy.get("/a")).status_code for _ in range(3)] == [200, 200, 429]
    assert bench.served == 8


async def test_uploaded_bytes_are_a_debt_that_is_waited_off():
    bench = Bench(upload_bytes=1000.0)
    async with bench.client() as client:
        assert (await client.patch("/a", content=bytes(7000))).status_code == 200
        refused = await client.patch("/a", content=bytes(10))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "6")
        assert (await client.get("/a")).status_code == 200  # only uploads wait
        bench.now += 6.0
        assert (await client.patch("/a", content=bytes(10))).status_code == 200


async def test_our_own_client_learns_when_to_come_back():
    bench = Bench(requests=0.1)
    async with bench.client() as client:
        await call(client, "GET", "/a")
        with pytest.raises(Throttled) as caught:
            await call(client, "GET", "/a")
    assert (caught.value.after, caught.value.retry) == (10.0, True)


def test_an_identity_goes_before_the_address():
    scope = Identity("scope-1", Role.EDGE)
    assert client_of({"client": ("10.0.0.1", 5), "identity": scope}) == "edge scope-1"
    assert client_of({"client": ("10.0.0.1", 5)}) == "10.0.0.1"
    assert client_of({"client": None}) == "unknown"


def test_memory_is_bounded_whoever_comes():
    limits = Limits(requests=1.0, clock=lambda: 0.0)
    for number in range(MOST_CLIENTS + 100):
        limits.ask(f"client-{number}", upload=False)
    assert len(limits._buckets) == MOST_CLIENTS  # noqa: SLF001
