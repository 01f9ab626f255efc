"""The verdict whether a response is of the stream that is followed at its path.

It is asked for twice. When a server begins to answer, the question is whether it has the data that
the reader goes on from. When the data have come, they are compared with what is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.edge.followed.comparison import ANOTHER, SAME, UNKNOWN
from headgate_gateway.protocol.streams.offsets import NOW

if TYPE_CHECKING:
    from headgate_gateway.edge.followed.evidence import StreamEvidence
    from headgate_gateway.edge.followed.followed_stream import FollowedStream
    from headgate_gateway.edge.reads.shared_response import SharedResponse
    from headgate_gateway.rules.repair import StreamRead


def verdict(
    stream: FollowedStream,
    response: SharedResponse,
    evidence: StreamEvidence,
    facts: StreamRead | None = None,
) -> str:
    """Return SAME, ANOTHER, or UNKNOWN if data have to be compared with the origin's first.

    The response shows nothing but its server until its `facts` are given.
    """
    if facts is not None:
        if _contradicts(stream, response, facts):
            return ANOTHER
        is_short = facts.ends and is_behind(stream, response, facts.next_offset)
        return UNKNOWN if is_short else SAME
    start, server = response.request.start, response.server
    found = of_reader(stream, start, server, evidence)
    is_sure = stream.verification.is_sure_of(server, start)
    return UNKNOWN if found is SAME and not is_sure else found


def is_behind(stream: FollowedStream, response: SharedResponse, end: str) -> bool:
    """Return whether a response shows that its server may lack data of the stream after `end`."""
    return response.passed_by is None and end < stream.state.expected_end


def of_reader(stream: FollowedStream, start: str, server: str, evidence: StreamEvidence) -> str:
    """Return the verdict whether a reader at `start` goes on with the stream that `server` has."""
    if evidence.refuses(stream.key, start):
        return ANOTHER
    if not server:
        return SAME  # none was compared yet
    is_known = start in stream.verification.window.distances
    unlike = evidence.unlike(stream.key, start, server, is_known=is_known)
    return SAME if unlike is None else UNKNOWN


def _contradicts(stream: FollowedStream, response: SharedResponse, facts: StreamRead) -> bool:
    """Return whether a response, with its body if that is whole, is of another stream."""
    start, whole = response.request.start, response.whole if response.is_joinable else None
    snapshot = stream.state.snapshot._replace(
        content_type=facts.content_type,
        tail=facts.next_offset,
        closed=facts.closed and facts.up_to_date,
        number=response.number,
    )
    if stream.state.contradicts(snapshot, ends=facts.ends):
        return True
    if whole is None or facts.is_coded or start == NOW:
        return False
    return stream.verification.window.contradicts(start, facts.next_offset, whole.body)
