"""The queue of coded bodies: turns of clients, and the processor time that decoding may take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.background import LONGEST_TURN_S, Turns
from headgate_gateway.errors import BadRequest, LimitReached
from headgate_gateway.runtime.decoding_queue import (
    LONGEST_S,
    LONGEST_WAIT_S,
    S_PER_BYTE,
    DecodingQueue,
)
from headgate_gateway.runtime.limits import Bounds, ServerLimits

if TYPE_CHECKING:
    from collections.abc import Generator

SIZE = 1 << 20
MOST_S = LONGEST_S + SIZE * S_PER_BYTE  # of a body of so many decoded bytes
LITTLE_S = 1e-6


class Bodies:
    """A queue of bodies that take as much processor time as a test says."""

    def __init__(self) -> None:
        self.limits = ServerLimits(Bounds(1, 1, 1, 1, SIZE, SIZE))
        self.now = 0.0
        self.decoded: list[str] = []
        self.queue = DecodingQueue(self.limits, lambda: self.now)

    def steps(self, name: str, seconds: float) -> Generator[int, None, str]:
        """Decode a body in a turn, and return its name in the next one."""
        time = asyncio.get_running_loop().time
        self.decoded.append(name)
        self.now += seconds
        ends = time() + LONGEST_TURN_S
        while time() < ends:
            pass
        yield SIZE
        return name

    def begin(self, name: str, seconds: float = 0.0, client: str = "") -> asyncio.Task[str]:
        return asyncio.create_task(self.queue.run(self.steps(name, seconds), client or name))


async def test_a_body_is_decoded_within_the_time_that_its_length_allows() -> None:
    bodies = Bodies()
    assert await bodies.begin("just", MOST_S - LITTLE_S) == "just"
    with pytest.raises(BadRequest, match=r"decoding_time is reached: .* without Content-Encoding"):
        await bodies.begin("long", MOST_S + LITTLE_S)
    assert bodies.limits.refused["decoding_time"] == 1
    assert await bodies.begin("next") == "next"


async def test_a_body_waits_for_others_that_take_a_second_in_all() -> None:
    bodies, each_s = Bodies(), MOST_S / 2
    first = bodies.begin("first")  # is decoded while the others begin to wait
    others = [bodies.begin(str(number), each_s) for number in range(int(LONGEST_WAIT_S / each_s))]
    just = bodies.begin("just", LONGEST_WAIT_S - len(others) * each_s + LITTLE_S)
    late = bodies.begin("late")
    assert await asyncio.gather(first, *others, just) == ["first", *bodies.decoded[1:]]
    with pytest.raises(LimitReached, match="decoding_queue is reached"):
        await late
    assert bodies.limits.refused["decoding_queue"] == 1
    assert await bodies.begin("next") == "next"


async def test_a_client_with_many_bodies_delays_those_of_others_by_one() -> None:
    bodies = Bodies()
    first = [bodies.begin(f"first {number}", client="first") for number in range(3)]
    second = [bodies.begin(f"second {number}", client="second") for number in range(2)]
    await asyncio.gather(*first, *second)
    assert bodies.decoded == ["first 0", "second 0", "first 1", "second 1", "first 2"]


async def test_a_body_whose_request_is_cancelled_is_not_decoded_and_delays_nobody() -> None:
    bodies = Bodies()
    decoding, waiting, last = (bodies.begin(name) for name in ("decoding", "waiting", "last"))
    while not bodies.decoded:
        await asyncio.sleep(0)
    waiting.cancel()
    decoding.cancel()
    assert await last == "last"
    assert bodies.decoded == ["decoding", "last"]


async def test_other_long_work_goes_on_between_turns_of_decoding() -> None:
    def long_work() -> Generator[None, None, int]:
        yield
        return len(bodies.decoded)

    bodies = Bodies()
    tasks = [bodies.begin(str(number)) for number in range(20)]
    await asyncio.sleep(0)
    assert await Turns().run(long_work()) <= 2
    await asyncio.gather(*tasks)
