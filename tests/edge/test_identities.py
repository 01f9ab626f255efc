"""Nothing of one reader is in what another one gets, nor a token where it can be found."""

from __future__ import annotations

import pytest

from tests.edge.identities.campaign import mixed_reads

READS = 10_000
PEOPLE = 50


@pytest.mark.timeout(300)
def test_nothing_of_one_reader_is_in_what_another_one_gets() -> None:
    count = mixed_reads(READS, PEOPLE)
    assert count.wrong == [], str(count)
    assert count.missing == [], str(count)
    assert count.own > READS / 10
