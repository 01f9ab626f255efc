"""How little of its answer a client may take, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from gateway.runtime.context import Timeouts
from gateway.web.connections.unsent import Unsent

TIMEOUTS = Timeouts(header=10.0, body=30.0, body_rate=100)
LEAST = 3000  # bytes in 30 s
SIZE = 1 << 20


class Pipe(asyncio.Transport):
    """A transport of which a test says what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.left = SIZE
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        return self.left

    def abort(self) -> None:
        self.is_aborted = True


@pytest.mark.parametrize(("taken", "is_cut"), [(0, True), (LEAST - 1, True), (LEAST, False)])
def test_so_much_has_to_be_taken_in_its_time(taken: int, is_cut: bool) -> None:
    pipe = Pipe()
    unsent = Unsent(pipe, TIMEOUTS, 100.0)
    pipe.left -= taken
    assert not unsent.cut_if_stuck(129.9)
    assert unsent.cut_if_stuck(130.0) is is_cut
    assert pipe.is_aborted is is_cut


def test_who_goes_on_taking_it_has_as_long_as_it_needs() -> None:
    pipe = Pipe()
    unsent = Unsent(pipe, TIMEOUTS, 0.0)
    now = 0.0
    while pipe.left > LEAST:
        now += 30.0
        pipe.left -= LEAST
        assert not unsent.cut_if_stuck(now)
    assert now > 10_000


def test_who_has_taken_all_is_not_cut() -> None:
    pipe = Pipe()
    unsent = Unsent(pipe, TIMEOUTS, 0.0)
    pipe.left = 0
    assert not unsent.cut_if_stuck(1000.0)


def test_without_a_rate_something_has_to_be_taken() -> None:
    pipe = Pipe()
    unsent = Unsent(pipe, TIMEOUTS._replace(body_rate=0), 0.0)
    pipe.left -= 1
    assert not unsent.cut_if_stuck(30.0)
    assert unsent.cut_if_stuck(60.0)
