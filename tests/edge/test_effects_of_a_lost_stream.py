"""The effects of losing a followed stream."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from unittest.mock import Mock

from gateway.edge.followed.checks import StreamChecks
from gateway.edge.followed.comparison import Evidence
from gateway.edge.followed.evidence import StreamEvidence
from gateway.edge.followed.followed_table import FollowedTable
from gateway.errors import StreamGone
from gateway.rules.read_rules import LostOffsets

if TYPE_CHECKING:
    from gateway.edge.reads.fetches import Fetch

KEY = ("h", "/s", (), "")


def test_ends_known_only_from_reads_are_refused_when_the_feed_is_lost() -> None:
    evidence = StreamEvidence(LostOffsets(), lambda: 100.0)
    for end in ("02", "05"):
        evidence.add(KEY, Evidence("-1", end))
    evidence.lose(KEY, "01", "03", frozenset({"03"}))
    refused = [offset for offset in ("01", "03", "05", "06") if evidence.refuses(KEY, offset)]
    assert refused == ["03", "05"]
    assert [one.end for one in evidence.of(KEY)] == ["02"]


def test_a_read_whose_end_is_already_lost_starts_no_comparison() -> None:
    gone = Mock(side_effect=StreamGone("its offset is refused"))
    table = FollowedTable()
    evidence = StreamEvidence(LostOffsets(), lambda: 100.0)
    evidence.add(KEY, Evidence("-1", "05", "a"))
    request = SimpleNamespace(path="/s", start="02", stream_key=KEY)
    fetch = cast("Fetch", SimpleNamespace(request=request, server="b"))
    assert StreamChecks(evidence, table, Mock(), gone).comparison_before(fetch) is None
    assert evidence.of(KEY) == []
