"""The verdict whether a response is of the stream that is followed at its path.

It is asked for twice. When a server begins to answer, the question is whether it has the data that
the reader goes on from. When the data have come, they are compared with what is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.edge.followed.comparison import ANOTHER, SAME, UNKNOWN
from headgate_gateway.edge.reads.shared_response import BEFORE_ALL
from headgate_gateway.protocol.streams.offsets import NOW

if TYPE_CHECKING:
    from headgate_gateway.edge.followed.evidence import StreamEvidence
    from headgate_gateway.edge.followed.followed_stream import FollowedStream
    from headgate_gateway.edge.reads.shared_response import SharedResponse
    from headgate_gateway.rules.repair import StreamRead


class Shown(NamedTuple):
    """The part of a response that has come: its server and where it begins, then its data.

    `facts` are None until the data have come, and `body` if they have not come whole.
    """

    server: str
    start: str
    facts: StreamRead | None = None
    body: bytes | None = None
    number: int = BEFORE_ALL  # of its request
    is_outdated: bool = False  # by writes while it came

    @classmethod
    def by(cls, fetch: SharedResponse, facts: StreamRead | None = None) -> Shown:
        """Return what a fetch has shown; without `facts` only its server counts."""
        whole = fetch.whole if facts is not None and fetch.is_joinable else None
        body = None if whole is None else whole.body
        is_outdated = fetch.passed_by is not None
        return cls(fetch.server, fetch.request.start, facts, body, fetch.number, is_outdated)


def verdict(stream: FollowedStream, shown: Shown, evidence: StreamEvidence) -> str:
    """Return SAME, ANOTHER, or UNKNOWN if data have to be compared with the origin's first."""
    facts = shown.facts
    if facts is None:
        found = of_reader(stream, shown.start, shown.server, evidence)
        is_sure = stream.verification.is_sure_of(shown.server, shown.start)
        return UNKNOWN if found is SAME and not is_sure else found
    if _contradicts(stream, shown, facts):
        return ANOTHER
    is_short = facts.ends and facts.next_offset < stream.state.expected_end
    return UNKNOWN if is_short and not shown.is_outdated else SAME


def of_reader(stream: FollowedStream, start: str, server: str, evidence: StreamEvidence) -> str:
    """Return the verdict whether a reader at `start` goes on with the stream that `server` has."""
    if evidence.refuses(stream.key, start):
        return ANOTHER
    if not server:
        return SAME  # none was compared yet
    is_known = start in stream.verification.window.distances
    unlike = evidence.unlike(stream.key, start, server, is_known=is_known)
    return SAME if unlike is None else UNKNOWN


def _contradicts(stream: FollowedStream, shown: Shown, facts: StreamRead) -> bool:
    """Return whether a response, with its body if that is whole, is of another stream."""
    snapshot = stream.state.snapshot._replace(
        content_type=facts.content_type,
        tail=facts.next_offset,
        closed=facts.closed and facts.up_to_date,
        number=shown.number,
    )
    if stream.state.contradicts(snapshot, ends=facts.ends):
        return True
    if shown.body is None or facts.is_coded or shown.start == NOW:
        return False
    window = stream.verification.window
    return window.contradicts(shown.start, facts.next_offset, shown.body)
