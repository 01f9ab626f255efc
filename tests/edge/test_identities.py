"""What one reader sends is in nobody else's answer, whatever the origin says of it."""

from __future__ import annotations

from tests.edge.identities import mixed_reads

READS = 2500


def test_nothing_of_one_reader_is_in_what_another_one_gets() -> None:
    count = mixed_reads(READS, identities=12)
    assert count.leaks == []
    assert count.missing == [], str(count)
    assert count.own > READS / 10
