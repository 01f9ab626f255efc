"""Readers of many streams, few of which are popular, before a cache that holds a tenth of them."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

from tests.edge.gateways import PREFIX
from tests.support.http1 import Wire

STREAM_BYTES = 4 << 10
ENTRY_BYTES = 1500  # of an entry besides its body: head, key, objects
TOP = 100


@dataclass(frozen=True, slots=True)
class Crowd:
    """Which streams are read, and how often: the n-th stream in proportion to n ** -exponent."""

    streams: int
    reads: int
    exponent: float
    seed: int = 4437

    @property
    def cache_bytes(self) -> int:
        """What a tenth of the streams takes."""
        return self.streams // 10 * (STREAM_BYTES + ENTRY_BYTES)

    def ranks(self) -> list[int]:
        weights = itertools.accumulate((rank + 1) ** -self.exponent for rank in range(self.streams))
        chance = random.Random(self.seed)
        return chance.choices(range(self.streams), cum_weights=list(weights), k=self.reads)


@dataclass(frozen=True, slots=True)
class Ratios:
    """Shares of reads for which the body was kept: of all, and of the most popular streams'.

    An answer that reached the open tail is asked for again after a second, and confirmed.
    """

    all: float
    top: float


def content(rank: int) -> bytes:
    return (b"%06d " % rank) * (STREAM_BYTES // 7)


def write(port: int, crowd: Crowd) -> None:
    """Make every stream."""
    with Wire(port) as wire:
        for rank in range(crowd.streams):
            path = f"{PREFIX}/zipf{rank}"
            assert wire.request("PUT", path, content(rank), content_type="text/plain").status == 201


def read(port: int, crowd: Crowd) -> Ratios:
    """Read as the crowd does, each time compared; the first half only warms the cache."""
    hits: list[tuple[int, bool]] = []
    with Wire(port) as wire:
        for rank in crowd.ranks():
            answer = wire.request("GET", f"{PREFIX}/zipf{rank}?offset=-1")
            assert answer.status == 200, answer
            assert answer.body == content(rank)
            hits.append((rank, answer.headers["x-cache"] in {"HIT", "REVALIDATED"}))
    warm = hits[len(hits) // 2 :]
    return Ratios(_share(warm), _share([hit for hit in warm if hit[0] < TOP]))


def _share(hits: list[tuple[int, bool]]) -> float:
    return sum(hit for _, hit in hits) / len(hits)
