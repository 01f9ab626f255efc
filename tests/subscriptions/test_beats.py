"""Beats tell who has stopped, in rounds that count by the time between them."""

from __future__ import annotations

import pytest

from headgate_gateway.features.subscriptions.shared.beats import (
    BEAT_S,
    LEAST_ROUND_S,
    MISSES,
    MOST_ROUND_S,
    OtherGateways,
)


@pytest.mark.parametrize(
    ("gaps_s", "has_stopped"),
    [
        pytest.param([BEAT_S] * (MISSES - 1), False, id="one-round-too-few"),
        pytest.param([BEAT_S] * MISSES, True, id="silent-for-all-rounds"),
        pytest.param([LEAST_ROUND_S] * MISSES, True, id="rounds-as-short-as-may-be"),
        pytest.param([0.001] * 3 * MISSES, False, id="rounds-of-many-requests-at-once"),
        pytest.param([MOST_ROUND_S] * MISSES, True, id="rounds-as-late-as-may-be"),
        pytest.param(
            [*[BEAT_S] * (MISSES - 1), MOST_ROUND_S + 0.01], False, id="it-stood-still-at-last"
        ),
        pytest.param([BEAT_S, 10.0, *[BEAT_S] * (MISSES - 1)], False, id="too-few-since"),
        pytest.param([BEAT_S, 10.0, *[BEAT_S] * MISSES], True, id="silent-for-all-since"),
        pytest.param(
            [step for _ in range(MISSES) for step in (0.1, BEAT_S - 0.1)], True, id="rounds-between"
        ),
    ],
)
def test_a_gateway_has_stopped_after_rounds_that_are_a_beat_apart(
    gaps_s: list[float], *, has_stopped: bool
) -> None:
    others, now = OtherGateways(), 100.0
    others.see({"a": 1, "b": 1}, now)
    stopped: list[str] = []
    for number, gap_s in enumerate(gaps_s):
        now += gap_s
        stopped = others.see({"a": 1, "b": 2 + number}, now)
    assert stopped == (["a"] if has_stopped else [])
