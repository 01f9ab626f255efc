"""The effects of losing a followed stream."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from unittest.mock import Mock

from gateway.edge.comparison import Evidence
from gateway.edge.followed.comparisons import Comparisons
from gateway.edge.followed.followed_table import FollowedTable
from gateway.edge.followed.stream_evidence import StreamEvidence
from gateway.edge.rules.lost_offsets import LostOffsets
from gateway.errors import StreamGone

if TYPE_CHECKING:
    from gateway.edge.followed.followed_stream import FollowedStream
    from gateway.edge.reads.fetch import SharedFetch

KEY = ("h", "/s", (), "")


def test_ends_known_only_from_reads_are_refused_when_the_feed_is_lost() -> None:
    evidence = StreamEvidence(FollowedTable(), LostOffsets(), Mock(), lambda: 100.0)
    for end in ("02", "05"):
        evidence.reads.add(KEY, Evidence("-1", end))
    lenders = SimpleNamespace(request=SimpleNamespace(stream_key=KEY))
    state = SimpleNamespace(known_end="03")
    stream = SimpleNamespace(lenders=lenders, state=state, has_tail=True)
    evidence.lose(cast("FollowedStream", stream), "01", frozenset({"03"}))
    refused = [offset for offset in ("01", "03", "05", "06") if evidence.refuses(KEY, offset)]
    assert refused == ["03", "05"]
    assert [one.end for one in evidence.reads.of(KEY)] == ["02"]


def test_a_read_whose_end_is_already_lost_starts_no_comparison() -> None:
    gone = Mock(side_effect=StreamGone("its offset is refused"))
    table = FollowedTable()
    evidence = StreamEvidence(table, LostOffsets(), Mock(), lambda: 100.0)
    evidence.reads.add(KEY, Evidence("-1", "05", "a"))
    request = SimpleNamespace(path="/s", start="02", stream_key=KEY)
    fetch = cast("SharedFetch", SimpleNamespace(request=request, server="b"))
    assert Comparisons(evidence, table, gone).before(fetch) is None
    assert evidence.reads.of(KEY) == []
