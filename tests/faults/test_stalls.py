"""Nobody stops the others: how long they wait for whatever one client may send."""

from __future__ import annotations

import json
import math
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.examples import IS_WHOLE, cases
from tests.support.stalls import KINDS, array, bodies, chunked_bodies, stalls, started

if TYPE_CHECKING:
    from collections.abc import Container

SIZE = 1 << 20
# What is in a head is dealt with before anything depends on where the streams are.
WITH_HEADS = {"memory", "http"}
# Of the time in which a body of so many bytes is taken apart in one go. On a processor that has
# nothing else to do that is 130 ms, and the longest stall some 20 ms.
LONGEST_SHARE = 0.7
# Bodies that stand for others of their kind, which only `make torture` sends.
SLOWEST = {"an array of digits", "an array of objects", "one long string", "line ends"}
SLOWEST |= {"chunks of arrays", "one array in a chunk"}
OTHERS = {*bodies(1), *chunked_bodies(1)} - SLOWEST  # names alone, of whatever size
TRIES = 3  # what only once took longer was no fault of what was sent


class Played:
    """The entries of the catalogue that are measured first."""

    def __contains__(self, entry: object) -> bool:
        return IS_WHOLE or str(entry).partition(": ")[2] not in OTHERS


def in_one_go_ms() -> float:
    """Return how long it takes here and now, in processor time: neighbours make it longer."""
    body = array(b"1", SIZE)
    began = time.thread_time()
    assert [b"%d" % item for item in json.loads(body)]
    return (time.thread_time() - began) * 1000


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(300)
# What a body is taken apart by is the same for every log, and most is to be done in a file.
@pytest.mark.parametrize("kind", cases(KINDS, {"file", "http"}, "file, and http for heads"))
def test_no_request_of_one_client_stops_the_others_for_long(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shares: dict[str, float] = {}
    too_long: Container[str] = Played()
    for _ in range(TRIES):
        in_one_go = in_one_go_ms()
        found: dict[str, float] = {}
        with started(kind) as server:
            for name, stall in stalls(server, SIZE, too_long, in_heads=kind in WITH_HEADS):
                found[name] = min(stall.wall_ms, stall.cpu_ms)
        in_one_go = max(in_one_go, in_one_go_ms())
        for name, took_ms in found.items():
            shares[name] = min(shares.get(name, math.inf), took_ms / in_one_go)
        too_long = {name: share for name, share in shares.items() if share > LONGEST_SHARE}
        if not too_long:
            break
    longest = max(shares, key=lambda name: shares[name])
    with capsys.disabled():
        sys.stdout.write(
            f" {kind}: the longest stall is {shares[longest]:.2f} of it, by {longest} "
        )
    assert not too_long
