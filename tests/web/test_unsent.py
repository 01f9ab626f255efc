"""How little of its answer a client may take, and for how long."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from headgate_gateway.routes.services import Timeouts
from headgate_gateway.web.connections import unsent as unsent_bytes
from headgate_gateway.web.connections.unsent import STEP, STEP_TIMES, Received, UnsentWatch, Verdict

TIMEOUTS = Timeouts(header=10.0, body=30.0, body_rate=100)
LEAST = 3000  # bytes in 30 s
SIZE = 1 << 20


class Pipe(asyncio.Transport):
    """A transport of which a test says what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.left = SIZE

    def get_write_buffer_size(self) -> int:
        return self.left

    def is_closing(self) -> bool:
        return False


def is_stuck(watch: UnsentWatch, now: float) -> bool:
    return watch.look(now) is Verdict.IS_STUCK


@pytest.mark.parametrize(("taken", "is_cut"), [(0, True), (LEAST - 1, True), (LEAST, False)])
def test_a_response_is_cut_if_too_little_is_read_in_time(taken: int, is_cut: bool) -> None:
    pipe = Pipe()
    unsent = UnsentWatch(pipe, TIMEOUTS, 100.0)
    pipe.left -= taken
    assert not is_stuck(unsent, 129.9)
    assert is_stuck(unsent, 130.0) is is_cut


def test_a_response_read_at_the_minimum_rate_is_never_cut() -> None:
    pipe = Pipe()
    unsent = UnsentWatch(pipe, TIMEOUTS, 0.0)
    now = 0.0
    while pipe.left > LEAST:
        now += 30.0
        pipe.left -= LEAST
        assert not is_stuck(unsent, now)
    assert now > 10_000
    pipe.left = 0  # it was read completely
    assert not is_stuck(unsent, now + 1000.0)


def test_a_response_without_a_minimum_rate_is_cut_only_if_nothing_is_read() -> None:
    pipe = Pipe()
    unsent = UnsentWatch(pipe, replace(TIMEOUTS, body_rate=0), 0.0)
    pipe.left -= 1
    assert not is_stuck(unsent, 30.0)
    assert is_stuck(unsent, 60.0)


@pytest.mark.parametrize(
    ("before", "answers", "times"),
    [
        pytest.param(STEP, True, STEP_TIMES, id="reads in steps of its window"),
        pytest.param(STEP, False, 1, id="is gone after one step"),
        pytest.param(STEP + 1, True, 1, id="has read steadily, and stopped"),
    ],
)
def test_a_client_that_stands_still_is_cut_later_only_while_it_may_read_in_steps(
    before: int, answers: bool, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Received(before, SIZE, answers=answers)
    monkeypatch.setattr(unsent_bytes, "received", lambda _: found)
    watch = UnsentWatch(Pipe(), TIMEOUTS, 0.0)
    until = TIMEOUTS.body * times
    looks = [watch.look(second / 10) for second in range(int(until * 10))]
    assert set(looks) == {Verdict.RECEIVES}
    assert watch.look(until) is Verdict.IS_STUCK
