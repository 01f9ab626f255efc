"""A few seconds of what `make soak` does for hours."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.fuzz import corpus
from tests.fuzz.campaign import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fuzz.campaign import Kind

SECONDS = 8.0


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["file", "http", "spoilt", "admin"])
async def test_a_gateway_bears_what_nobody_should_send(kind: Kind, tmp_path: Path) -> None:
    account = await run(kind, SECONDS, random.randrange(1 << 32), tmp_path)
    assert account.findings == [], str(account)
    assert sum(account.statuses.values()) > 50, str(account)


def test_the_same_seed_sends_the_same_bytes() -> None:
    said = [corpus.conversation(random.Random(7), spoilt=True) for _ in range(2)]
    assert said[0] == said[1]


def test_segments_are_the_bytes_that_were_cut() -> None:
    chance = random.Random(7)
    for size in (0, 1, 2, 3, 1000):
        data = chance.randbytes(size)
        for _ in range(20):
            assert b"".join(corpus.segments(chance, data)) == data
