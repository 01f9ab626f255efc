"""The effects of losing a followed stream."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from unittest.mock import Mock

from gateway.cache.rules.lost_offsets import LostOffsets
from gateway.edge.comparison import Evidence
from gateway.edge.followed.doubts import Doubts
from gateway.errors import StreamGone

if TYPE_CHECKING:
    from gateway.cache.fetches.fetch import SharedFetch
    from gateway.edge.followed.followed_stream import FollowedStream

KEY = ("h", "/s", (), "")


def test_ends_known_only_from_reads_are_refused_when_the_feed_is_lost() -> None:
    doubts = Doubts(lambda _: (), LostOffsets(), lambda: 100.0, Mock())
    read = Evidence("-1", "05", 1, b"")
    for end in ("02", "05"):
        doubts.newest_reads.add(KEY, read._replace(end=end))
    lenders = SimpleNamespace(request=SimpleNamespace(stream_key=KEY))
    state = SimpleNamespace(known_end="03")
    stream = SimpleNamespace(lenders=lenders, state=state, has_tail=True)
    doubts.lose(cast("FollowedStream", stream), "01", frozenset({"03"}))
    refused = [offset for offset in ("01", "03", "05", "06") if doubts.refuses(KEY, offset)]
    assert refused == ["03", "05"]
    assert [one.end for one in doubts.newest_reads.of(KEY)] == ["02"]


def test_a_read_whose_end_is_already_lost_starts_no_comparison() -> None:
    gone = Mock(side_effect=StreamGone("its offset is refused"))
    doubts = Doubts(lambda _: (), LostOffsets(), lambda: 100.0, gone)
    doubts.newest_reads.add(KEY, Evidence("-1", "05", 1, b"", "a"))
    request = SimpleNamespace(read=SimpleNamespace(path="/s"), start="02", stream_key=KEY)
    fetch = cast("SharedFetch", SimpleNamespace(request=request, server="b"))
    assert doubts.comparison_before(fetch) is None
    assert doubts.newest_reads.of(KEY) == []
