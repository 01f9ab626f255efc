from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from headgate.errors import BadRequest, StreamError, Unavailable
from headgate.retries import Backoff, Retries
from tests.support import virtual_time

if TYPE_CHECKING:
    from collections.abc import Container

AWAY = Unavailable("cannot connect")


def busy(retry_after: str) -> Unavailable:
    return Unavailable("busy", status=503, headers={"Retry-After": retry_after})


def attempts(retries: Retries, refusals: list[StreamError], *, succeeds: bool = True) -> int:
    """Return how many attempts are made, of which the first ones get these refusals."""
    made = 0

    async def attempt() -> None:
        nonlocal made
        made += 1
        if made <= len(refusals):
            raise refusals[made - 1]

    with contextlib.nullcontext() if succeeds else pytest.raises(StreamError):
        virtual_time.run(retries.run(attempt))
    return made


WAITS = 0.02, 0.02


@pytest.mark.parametrize(
    ("time_s", "options", "refusals"),
    [
        pytest.param(20, {}, [AWAY, busy(""), Unavailable("later", status=429)], id="passing"),
        pytest.param(10, {"most": 2}, [busy("9"), busy("9")], id="each gets the whole time"),
        pytest.param(1, {"hurries": True}, [busy("3")], id="hurries"),
    ],
)
def test_refusals_that_pass_are_waited_out_and_reported(
    time_s: float, options: dict[str, Any], refusals: list[StreamError]
) -> None:
    notes: list[str] = []
    retries = Retries(time_s, WAITS, notes.append, **options)
    for _ in range(2):  # each call gets the whole time
        notes.clear()
        assert attempts(retries, refusals) == len(refusals) + 1 == len(notes)
        assert notes[0].startswith(f"{refusals[0]}; trying again in ")
        assert notes[-1] == "connected again"


@pytest.mark.parametrize(
    ("time_s", "options", "refusals", "made"),
    [
        pytest.param(0, {}, [AWAY], [1], id="no time"),
        pytest.param(20, {}, [BadRequest("no", status=400)], [1], id="not passing"),
        pytest.param(20, {}, [busy("21")], [1], id="longer than there is time"),
        pytest.param(10, {"most": 2}, [busy("9")] * 3, [3], id="so many have failed"),
        pytest.param(0.1, {}, [AWAY] * 1000, range(3, 1000), id="their time is used up"),
    ],
)
def test_lasting_refusals_and_too_long_waits_are_raised(
    time_s: float, options: dict[str, Any], refusals: list[StreamError], made: Container[int]
) -> None:
    retries = Retries(time_s, WAITS, lambda _: None, **options)
    assert attempts(retries, refusals, succeeds=False) in made


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
