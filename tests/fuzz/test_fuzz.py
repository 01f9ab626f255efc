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


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["file", "http", "spoilt", "admin", "headers"])
async def test_a_gateway_withstands_fuzzed_requests_and_origin_responses(
    kind: Kind, tmp_path: Path
) -> None:
    account = await run(kind, SECONDS, random.randrange(1 << 32), tmp_path)
    assert account.findings == [], str(account)
    assert sum(account.statuses.values()) > 50, str(account)


def test_the_fuzz_corpus_is_the_same_for_the_same_seed() -> None:
    said = [corpus.conversation(random.Random(7), spoilt=True) for _ in range(2)]
    assert said[0] == said[1]


def test_fuzz_segments_join_to_the_original_bytes() -> None:
    chance = random.Random(7)
    for size in (0, 1, 2, 3, 1000):
        data = chance.randbytes(size)
        for _ in range(20):
            assert b"".join(corpus.segments(chance, data)) == data
