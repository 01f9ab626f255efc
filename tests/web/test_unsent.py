"""How little of its answer a client may take, and for how long."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from gateway.routes.services import Timeouts
from gateway.web.connections.connection_state import UnsentWatch

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
def test_a_response_is_cut_if_too_little_is_read_in_time(taken: int, is_cut: bool) -> None:
    pipe = Pipe()
    unsent = UnsentWatch(pipe, TIMEOUTS, 100.0)
    pipe.left -= taken
    assert not unsent.cut_if_stuck(129.9)
    assert unsent.cut_if_stuck(130.0) is is_cut
    assert pipe.is_aborted is is_cut


def test_a_response_read_at_the_minimum_rate_is_never_cut() -> None:
    pipe = Pipe()
    unsent = UnsentWatch(pipe, TIMEOUTS, 0.0)
    now = 0.0
    while pipe.left > LEAST:
        now += 30.0
        pipe.left -= LEAST
        assert not unsent.cut_if_stuck(now)
    assert now > 10_000
    pipe.left = 0  # it was read completely
    assert not unsent.cut_if_stuck(now + 1000.0)


def test_a_response_without_a_minimum_rate_is_cut_only_if_nothing_is_read() -> None:
    pipe = Pipe()
    unsent = UnsentWatch(pipe, replace(TIMEOUTS, body_rate=0), 0.0)
    pipe.left -= 1
    assert not unsent.cut_if_stuck(30.0)
    assert unsent.cut_if_stuck(60.0)
