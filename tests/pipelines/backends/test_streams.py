"""Requests over one stream: each gets its own answer, whatever becomes of the others."""

import asyncio

import numpy as np
import pytest

from pipelines.backends.address import parsed
from pipelines.backends.errors import Refused, Unavailable
from pipelines.backends.factory import backend
from pipelines.backends.openvino import repository
from pipelines.backends.port import Backend
from pipelines.backends.tensors import ModelRef
from tests.doubles.streaming import StreamingDouble

REF = ModelRef("m")


def opened(double: StreamingDouble, tmp_path, options: str = "") -> Backend:
    return backend(parsed(f"kserve+grpc://127.0.0.1:{double.port}?stream=on&shm=off{options}"), repository(tmp_path))


def row(number: float) -> dict[str, np.ndarray]:
    return {"x": np.full((1, 2), number, np.float32)}


async def test_many_requests_share_a_stream_and_each_gets_its_own_answer(tmp_path):
    async with StreamingDouble() as double:
        double.swaps = True
        asked = opened(double, tmp_path)
        answers = await asyncio.gather(*(asked.infer(REF, row(number)) for number in range(40)))
        await asked.close()
    assert [float(answer.outputs["y"][0, 0]) for answer in answers] == [2.0 * number for number in range(40)]
    assert (double.streamed, double.alone) == (40, 0)


async def test_a_request_that_is_refused_takes_no_other_with_it(tmp_path):
    async with StreamingDouble() as double:
        asked = opened(double, tmp_path)
        await asked.load(REF)
        numbers = [1.0, 2.0, -1.0, 4.0, 5.0, 6.0]
        answers = await asyncio.gather(*(asked.infer(REF, row(one)) for one in numbers), return_exceptions=True)
        await asked.close()
    for number, answer in zip(numbers, answers, strict=True):
        if number < 0:
            assert isinstance(answer, Refused)
            assert "no negative numbers" in str(answer)
        else:
            assert float(answer.outputs["y"][0, 0]) == 2 * number


async def test_a_server_that_takes_no_streams_is_asked_without_from_then_on(tmp_path):
    async with StreamingDouble(streams=False) as double:
        asked = opened(double, tmp_path)
        for number in range(3):
            answer = await asked.infer(REF, row(number))
            assert float(answer.outputs["y"][0, 0]) == 2 * number
        await asked.close()
    assert (double.streamed, double.alone) == (0, 3)


async def test_a_stream_that_breaks_off_is_opened_anew_and_no_request_is_lost(tmp_path):
    async with StreamingDouble() as double:
        double.ends_after = 5
        asked = opened(double, tmp_path, "&retries=30")
        answers = [await asked.infer(REF, row(number)) for number in range(13)]
        await asked.close()
    assert [float(answer.outputs["y"][0, 0]) for answer in answers] == [2.0 * number for number in range(13)]
    assert double.alone == 0


async def test_whoever_waits_at_a_server_that_goes_is_told_to_come_again(tmp_path):
    async with StreamingDouble() as double:
        asked = opened(double, tmp_path, "&retries=0")
        await asked.infer(REF, row(1))
    with pytest.raises(Unavailable):
        await asked.infer(REF, row(1))
    await asked.close()


async def test_an_answer_that_nobody_waits_for_any_more_is_given_to_nobody_else(tmp_path):
    async with StreamingDouble() as double:
        asked = opened(double, tmp_path)
        await asked.infer(REF, row(1))
        given_up = asyncio.create_task(asked.infer(REF, row(7)))
        await asyncio.sleep(0)  # it has asked
        given_up.cancel()
        answers = await asyncio.gather(*(asked.infer(REF, row(number)) for number in (3, 4, 5, 6)))
        await asked.close()
    assert [float(answer.outputs["y"][0, 0]) for answer in answers] == [6.0, 8.0, 10.0, 12.0]
