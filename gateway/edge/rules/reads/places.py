"""Refuse responses to reads that begin where this stream has no data: at a lost or later offset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge.rules.lost_offsets import ANOTHER_STREAM
from gateway.edge.rules.reads.rule import ReadRule
from gateway.errors import OriginBehind, StreamGone
from gateway.protocol.origins.repair import check_end

if TYPE_CHECKING:
    from gateway.edge.rules.reads.rule import ReadResponse


def _check(response: ReadResponse) -> bool:
    """Raise OriginBehind for a response that ends before the requested offset.

    Raises StreamGone when that persists, or the offset is of a lost stream.
    """
    route, request, ends = response.route, response.request, response.facts.next_offset
    if route.lost and route.lost.refuses(request.stream_key, request.start, response.answered):
        raise StreamGone(ANOTHER_STREAM)
    try:
        if request.read.is_clear:
            check_end(request.read.offset, ends)
    except OriginBehind as behind:
        if route.lag.saw(request.path, request.start, response.answered):
            raise StreamGone(ANOTHER_STREAM) from behind
        raise
    route.lag.reached(request.path, request.start)
    if route.lost:
        route.lost.note(request.stream_key, ends)
    return False


PLACE = ReadRule("", _check)
