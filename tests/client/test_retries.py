from __future__ import annotations

import contextlib
from typing import Any

import pytest
from headgate.errors import BadRequest, StreamError, Unavailable
from headgate.retries import Backoff, Retries

from tests.support import virtual_time


class Attempts:
    """Fails with these refusals, one after the other, and then succeeds."""

    def __init__(self, *refusals: StreamError) -> None:
        self.refusals = list(refusals)
        self.made = 0
        self.said: list[str] = []

    async def __call__(self) -> str:
        self.made += 1
        if self.made <= len(self.refusals):
            raise self.refusals[self.made - 1]
        return "done"

    def retries(self, time_s: float, **options: Any) -> Retries:
        return Retries(time_s, (0.02, 0.02), self.said.append, **options)


async def test_passing_refusals_are_retried_and_reported() -> None:
    attempts = Attempts(
        Unavailable("cannot connect"),
        Unavailable("busy", status=503),
        Unavailable("later", status=429),
    )
    assert await attempts.retries(20).run(attempts) == "done"
    assert attempts.said == [
        "cannot connect; trying again in 0.0 s",
        "busy; trying again in 0.0 s",
        "later; trying again in 0.0 s",
        "connected again",
    ]


def test_retries_end_when_their_time_is_used_up() -> None:
    attempts = Attempts(*[Unavailable("cannot connect")] * 1000)
    with pytest.raises(StreamError, match="cannot connect"):
        virtual_time.run(attempts.retries(0.1).run(attempts))
    assert 2 < attempts.made < 1000


def test_counted_retries_end_when_so_many_have_failed_and_each_gets_the_whole_time() -> None:
    slow = Unavailable("busy", status=503, headers={"Retry-After": "9"})
    attempts = Attempts(slow, slow)
    assert virtual_time.run(attempts.retries(10, most=2).run(attempts)) == "done"
    attempts = Attempts(slow, slow, slow)
    with pytest.raises(Unavailable):
        virtual_time.run(attempts.retries(10, most=2).run(attempts))
    assert attempts.made == 3


async def test_each_call_of_retries_gets_the_whole_time() -> None:
    attempts = Attempts(Unavailable("busy", status=503))
    retries = attempts.retries(20)
    for _ in range(2):
        attempts.made = 0
        assert await retries.run(attempts) == "done"


@pytest.mark.parametrize(
    ("time_s", "refusal"),
    [
        (0.0, Unavailable("cannot connect")),
        (20.0, BadRequest("no", status=400)),
        (20.0, Unavailable("much later", status=503, headers={"Retry-After": "21"})),
    ],
    ids=["no time", "not passing", "longer than there is time"],
)
async def test_lasting_refusals_and_too_long_waits_are_not_retried(
    time_s: float, refusal: StreamError
) -> None:
    attempts = Attempts(refusal)
    with pytest.raises(StreamError, match=str(refusal)):
        await attempts.retries(time_s).run(attempts)
    assert (attempts.made, attempts.said) == (1, [])


@pytest.mark.parametrize(("hurries", "made"), [(True, 2), (False, 1)])
def test_a_wait_that_is_longer_than_the_time_is_not_kept_by_retries_that_hurry(
    made: int, *, hurries: bool
) -> None:
    attempts = Attempts(Unavailable("busy", status=503, headers={"Retry-After": "3"}))
    retries = attempts.retries(1, hurries=hurries)
    with contextlib.nullcontext() if hurries else pytest.raises(StreamError):
        assert virtual_time.run(retries.run(attempts)) == "done"
    assert attempts.made == made


@pytest.mark.parametrize(
    ("first_s", "chance", "waits"),
    [
        pytest.param(0.5, 1.0, [0.5, 1, 2, 4, 8, 16, 30, 30], id="doubled up to the longest"),
        pytest.param(40.0, 1.0, [30], id="cut to the longest"),
        pytest.param(0.5, 0.0, [0.25, 0.5, 1], id="spread down to half"),
    ],
)
def test_the_waits_of_a_backoff(first_s: float, chance: float, waits: list[float]) -> None:
    backoff = Backoff(first_s, 30.0, lambda: chance)
    assert [backoff.next_s() for _ in waits] == waits
    for _ in range(10_000):
        backoff.next_s()
    assert backoff.next_s() == 30.0 * (0.5 + chance / 2)
    backoff.reset()
    assert backoff.next_s() == waits[0]
