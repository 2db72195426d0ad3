"""Several requests under way from ordinary code."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

import numpy as np
import pytest

from pipelines.backends.blocking import Blocking
from pipelines.backends.errors import Refused
from pipelines.backends.tensors import Answer, Arrays, ModelRef, Signature
from tests.support.waiting import eventually

REF = ModelRef("m")


class Place:
    """Gives numbers back, none before as many are under way as the test wants; refuses negative ones."""

    place = "a place"

    def __init__(self, together: int) -> None:
        self.together, self.under_way, self.most, self.called_off = together, 0, 0, 0
        self.enough = asyncio.Event()

    def check(self) -> None: ...

    async def load(self, ref: ModelRef) -> Signature:
        return Signature((), ())

    async def infer(self, ref: ModelRef, inputs: Arrays) -> Answer:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if self.under_way >= self.together:
                self.enough.set()
            if inputs["x"][0] < 0:
                raise Refused("no")
            await self.enough.wait()
            return Answer(inputs)
        except asyncio.CancelledError:
            self.called_off += 1
            raise
        finally:
            self.under_way -= 1

    async def healthy(self) -> bool:
        return True

    async def close(self) -> None: ...


@pytest.fixture
def opened() -> Iterator[Callable[[int], tuple[Place, Blocking]]]:
    made: list[Blocking] = []

    def open_one(together: int) -> tuple[Place, Blocking]:
        place = Place(together)
        made.append(Blocking(place))
        return place, made[-1]

    yield open_one
    for one in made:
        one.close()


def numbers(*given: int) -> Iterator[Arrays]:
    return ({"x": np.array([number])} for number in given)


def test_so_many_are_under_way_at_once_and_answers_come_in_order(
    opened: Callable[[int], tuple[Place, Blocking]],
) -> None:
    place, asked = opened(3)

    answers = [int(answer.outputs["x"][0]) for answer in asked.several(REF, numbers(*range(20)), 3)]

    assert answers == list(range(20))
    assert place.most == 3


def test_no_input_is_made_before_there_is_room_for_it(opened: Callable[[int], tuple[Place, Blocking]]) -> None:
    _, asked = opened(1)
    made: list[int] = []

    def making() -> Iterator[Arrays]:
        for number in range(10):
            made.append(number)
            yield {"x": np.array([number])}

    answers = asked.several(REF, making(), 2)
    next(answers)
    assert made == [0, 1, 2]
    answers.close()


async def test_what_fails_ends_the_rest_and_the_next_are_answered(
    opened: Callable[[int], tuple[Place, Blocking]],
) -> None:
    place, asked = opened(99)

    with pytest.raises(Refused):
        await asyncio.to_thread(list, asked.several(REF, numbers(-1, 1, 2, 3), 4))
    await eventually(lambda: place.under_way == 0 and place.called_off > 0)

    place.together = 1
    assert [int(one.outputs["x"][0]) for one in asked.several(REF, numbers(7), 4)] == [7]


async def test_what_is_under_way_when_it_closes_is_called_off() -> None:
    place = Place(99)
    asked = Blocking(place)

    def all_called_off() -> None:
        with pytest.raises(CancelledError):
            list(asked.several(REF, numbers(1, 2, 3), 2))

    waiting = asyncio.create_task(asyncio.to_thread(all_called_off))
    await eventually(lambda: place.under_way == 2)

    asked.close()

    await waiting
    assert place.called_off == 2
