"""Vectors that are spread over processes of this computer, behind the same port."""

import asyncio
from contextlib import ExitStack

import httpx
import numpy as np
import pytest

from contracts.errors import Away, BadRequest, Conflict
from gateway.cells.spaces import Spaces
from gateway.vectors.port import IdSet
from gateway.vectors.remote import RemoteIndex
from gateway.vectors.stored import Plan
from gateway.vectors.wire import packed, unpacked
from tests.support.cells import nearest, recall, vectors
from tests.support.serving import Program

MODEL = "cells/1"


def numbered(count: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.int64)


@pytest.fixture
async def programs(tmp_path):
    made = [Program("-m", "tests.support.shard", str(tmp_path / f"shard-{number}")) for number in range(2)]
    try:
        await asyncio.gather(*(one.start() for one in made))
        yield made
    finally:
        await asyncio.gather(*(one.kill() for one in made))


def spread(stack: ExitStack, programs, folder) -> Spaces:
    clients = [
        stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{one.port}", timeout=60)) for one in programs
    ]
    spaces = Spaces(folder / "spread", Plan(), clients)
    stack.callback(spaces.close)
    return spaces


async def test_shards_in_processes_answer_as_one_and_a_killed_one_forgets_nothing(programs, tmp_path):
    kept, asked = vectors(12_000), vectors(40, seed=1)
    with ExitStack() as stack:
        index = spread(stack, programs, tmp_path).make(MODEL, 32)

        def fill() -> None:
            for start in range(0, 12_000, 1000):
                index.add(numbered(1000, start), kept[start : start + 1000])

        await asyncio.to_thread(fill)
        found = await asyncio.to_thread(index.search, asked, 10)
        assert recall(found.ids, nearest(asked, kept)) > 0.97
        only = numbered(12_000)[::5]
        found = await asyncio.to_thread(index.search, asked, 10, IdSet.of(only))
        assert recall(found.ids, only[nearest(asked, kept[only])]) > 0.97
        assert await asyncio.to_thread(index.delete, numbered(5, 4094)) == 5, "of both"
        told = await asyncio.to_thread(index.about)
        assert (told["count"], [one["count"] > 3000 for one in told["shards"]]) == (11_995, [True, True])

        await programs[1].kill()
        with pytest.raises(Away, match="the shard at http://127"):
            await asyncio.to_thread(index.search, asked, 10)
        with pytest.raises(Away):
            await asyncio.to_thread(index.add, numbered(8192, 20_000), vectors(8192, seed=5))
    await programs[1].start()
    with ExitStack() as stack:
        again = spread(stack, programs, tmp_path).get(MODEL)
        await asyncio.to_thread(again.add, numbered(8192, 20_000), vectors(8192, seed=5))
        assert await asyncio.to_thread(again.count) == 11_995 + 8192
        given, known = await asyncio.to_thread(again.get, np.array([0, 4095, 11_999], np.int64))
        assert known.tolist() == [True, False, True]
        assert np.allclose(given[2], kept[11_999], atol=1e-3)
        found = await asyncio.to_thread(again.search, asked, 10, IdSet.of_ranges([[0, 12_000]]))
        alive = np.setdiff1d(numbered(12_000), numbered(5, 4094))
        assert recall(found.ids, alive[nearest(asked, kept[alive])]) > 0.97

        with pytest.raises(BadRequest, match="vectors of cells/1 have 32 numbers, not 16"):
            await asyncio.to_thread(_of_length, programs[0], 16)
    with ExitStack() as stack, pytest.raises(Conflict, match=r"lie in 2 shards, and gateway\.cells\.shards names 1"):
        spread(stack, programs[:1], tmp_path).get(MODEL)


def _of_length(program: Program, dimension: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{program.port}") as client:
        RemoteIndex(client, MODEL, dimension).count()


def test_arrays_come_as_they_were_sent():
    arrays = {"ids": numbered(3), "vectors": vectors(3), "among": np.array([255, 0, 1], np.uint8), "none": numbered(0)}
    given, said = unpacked(packed(arrays, k=3))
    assert said == {"k": 3}
    assert given.keys() == arrays.keys()
    assert all(
        np.array_equal(given[name], array) and given[name].dtype == array.dtype for name, array in arrays.items()
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}\n",
        b"[1]\n",
        b'{"said": {}, "arrays": [["ids", "<i8", [2], 16]]}\n12345678',
        b'{"said": {}, "arrays": [["ids", "|O", [1], 8]]}\n12345678',
        b'{"said": {}, "arrays": [["ids", "<i8", [-1], 8]]}\n12345678',
        b'{"said": {}, "arrays": [["ids", "<i8", [99999999999], 8]]}\n12345678',
        b'{"said": {}, "arrays": [["ids", "|u1", [9], 8]]}\n12345678',
        b'{"said": {}, "arrays": []}\nmore',
        b'{"said": {}, "arrays": [["ids", "<i8", ["x"], 8]]}\n12345678',
    ],
)
def test_what_is_no_arrays_is_refused(content):
    with pytest.raises(BadRequest, match="no arrays"):
        unpacked(content)


def test_bits_that_unpack_to_more_than_they_say_are_refused():
    content = packed({"among": np.zeros(10**6, np.uint8)}).replace(b"[1000000]", b"[1000]")
    with pytest.raises(BadRequest, match="bytes, not 1000"):
        unpacked(content)
