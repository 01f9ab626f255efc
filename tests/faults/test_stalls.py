"""Nobody stops the others: how long they wait for whatever one client may send."""

from __future__ import annotations

import sys

import pytest

from tests.support.stalls import KINDS, stalls, started

SIZE = 1 << 20  # to deal with it in one go takes a quarter of a second; `make bench` has 16 MiB
# What is in a head is dealt with before anything depends on where the streams are.
WITH_HEADS = {"memory", "http"}
# Each takes at most some 20 ms of a processor that has nothing else to do; four test processes that
# share two cores make it more.
LONGEST_MS = 100.0
TRIES = 3  # what only once took longer was no fault of what was sent


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_nobody_stops_the_others(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, float] = {}
    too_long = None
    for _ in range(TRIES):
        with started(kind) as server:
            for name, stall in stalls(server, SIZE, too_long, in_heads=kind in WITH_HEADS):
                took_ms = min(stall.wall_ms, stall.cpu_ms)
                found[name] = min(found.get(name, took_ms), took_ms)
        too_long = {name: took_ms for name, took_ms in found.items() if took_ms > LONGEST_MS}
        if not too_long:
            break
    longest = max(found, key=lambda name: found[name])
    with capsys.disabled():
        sys.stdout.write(f" {kind}: the longest stall is {found[longest]:.0f} ms, by {longest} ")
    assert not too_long
