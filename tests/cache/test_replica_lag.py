"""Reads that end too soon: how long that may be a lag, and how many are remembered."""

from __future__ import annotations

from gateway.cache.rules.replica_lag import MAX_SETBACKS, PERSISTS_S, ReplicaLag


def test_a_read_that_ends_too_soon_is_no_lag_after_persists_s() -> None:
    lag = ReplicaLag()
    seen = [lag.saw("/s", "9", at) for at in (100.0, 101.0, 100.0 + PERSISTS_S)]
    assert seen == [False, False, True]
    assert not lag.saw("/s", "8", 100.0 + PERSISTS_S)
    assert not lag.saw("/t", "9", 100.0 + PERSISTS_S)


def test_a_response_that_reaches_the_offset_restarts_the_lag_time() -> None:
    lag = ReplicaLag()
    assert not lag.saw("/s", "9", 100.0)
    lag.reached("/s", "8")
    lag.reached("/s", "9")
    assert not lag.saw("/s", "9", 100.0 + PERSISTS_S)


def test_the_oldest_noted_lag_is_dropped_at_the_bound() -> None:
    lag = ReplicaLag()
    for number in range(MAX_SETBACKS):
        lag.saw("/s", str(number), 100.0)
    lag.saw("/s", "0", 101.0)  # used again
    lag.saw("/s", "one more", 101.0)
    assert len(lag) == MAX_SETBACKS
    assert lag.saw("/s", "0", 100.0 + PERSISTS_S)
    assert not lag.saw("/s", "1", 100.0 + PERSISTS_S)
