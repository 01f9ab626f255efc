"""The checks whether another stream is at a path than the one that readers have data of.

Every read is noted as evidence. It is compared only where another stream may be there: where
another server answers than had sent it, or one that has failed since, or a followed stream is in
doubt. A read that goes on from a reader's offset then waits until the streams were compared.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from headgate_gateway.edge.followed.comparison import (
    ANOTHER,
    SAME,
    UNKNOWN,
    evidence_of,
    unknown_server,
)
from headgate_gateway.edge.followed.evidence import ANYWHERE
from headgate_gateway.edge.followed.origin_reads import UNSURE, is_variant
from headgate_gateway.edge.followed.verdict import is_behind, verdict
from headgate_gateway.edge.reads.shared_response import SERVED_STALE
from headgate_gateway.errors import HeadgateError, OriginBusy, StreamGone, StreamNotFound
from headgate_gateway.later import is_set_within
from headgate_gateway.protocol.streams.offsets import NOW
from headgate_gateway.rules.followed import Span
from headgate_gateway.rules.read_rules import ANOTHER_STREAM, REFUSED_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate_gateway.edge.followed.comparison import Evidence
    from headgate_gateway.edge.followed.evidence import StreamEvidence
    from headgate_gateway.edge.followed.followed_stream import FollowedStream
    from headgate_gateway.edge.followed.followed_table import FollowedTable
    from headgate_gateway.edge.followed.origin_reads import OriginReads
    from headgate_gateway.edge.reads.shared_response import SharedResponse
    from headgate_gateway.rules.cached_response import CacheRequest, StreamKey
    from headgate_gateway.rules.repair import StreamRead

LONGEST_EVIDENCE = 8 << 20  # bytes: a checksum takes a millisecond or two, and one more read later
LONGEST_COMPARISON_S = 1.0  # that a read waits for a comparison, which takes one request, or a few
RETRY_S = 1


class StreamChecks:
    """The checks of a route's reads: what they show, and whether their readers may go on.

    `follow` follows a stream from where a read ended, until it has been compared with the origin's.
    """

    def __init__(
        self,
        evidence: StreamEvidence,
        table: FollowedTable,
        reader: OriginReads,
        follow: Callable[[CacheRequest, Evidence], FollowedStream],
    ) -> None:
        self._evidence = evidence
        self._table = table
        self._reader = reader
        self._follow = follow

    # What reads show

    def note(self, fetch: SharedResponse) -> None:
        """Note what a read shows, and drop what that outdates: a followed stream, or responses."""
        whole, request = fetch.whole, fetch.request
        if fetch.how is SERVED_STALE:
            return
        cached = fetch.response.result() if whole is None else whole
        facts, stream = cached.facts, self._table.by_key.get(request.stream_key)
        if facts is None or (cached.stored.vary and is_variant(cached)):
            is_gone = cached.status == 404 and not (fetch.is_of_the_past or request.admitted_as)
            if is_gone and stream is not None:
                stream.end(StreamNotFound("the stream was deleted"))
            return
        if stream is not None and stream.is_after(fetch.number, facts.content_type):
            fetch.outdate(None)
        if not fetch.is_of_the_past:
            self._note_end(fetch, facts, stream)
        if whole is not None:
            self._note_data(fetch, facts, whole.body)

    def _note_end(
        self, fetch: SharedResponse, facts: StreamRead, stream: FollowedStream | None
    ) -> None:
        """Note where a read of what is there now ends; `stream` is followed there, if any is."""
        key, newest, end = fetch.request.stream_key, self._evidence.newest, facts.next_offset
        if stream is not None:
            self._act(stream, verdict(stream, fetch, self._evidence, facts), fetch, facts)
        if not facts.is_empty and newest.note(key, end):
            if self._table.by_path:
                self._table.overtake(key, end)
            if fetch.request.identity:
                # What everybody would get is older.
                self._reader.cache.responses.drop_tail(fetch.request.path)

    def _note_data(self, fetch: SharedResponse, facts: StreamRead, body: bytes) -> None:
        """Note the data of a read that came whole, unless earlier evidence takes precedence."""
        key, start, end = fetch.request.stream_key, fetch.request.start, facts.next_offset
        if facts.is_empty or facts.is_coded or start == NOW or len(body) > LONGEST_EVIDENCE:
            return
        server = unknown_server() if fetch.is_of_the_past else fetch.server
        known = self._evidence.of(key)
        if not facts.up_to_date and any(one.end > end and one.server == server for one in known):
            return  # the server is known to have data beyond it
        read = evidence_of(facts.content_type, Span(start, end, body), server)
        if read is not None and self._is_evidence(key, read):
            self._evidence.add(key, read)

    def _is_evidence(self, key: StreamKey, read: Evidence) -> bool:
        """Return whether a read takes the place of an earlier one that ended at the same offset.

        The earlier one stays if it may be of another stream.
        """
        known = self._evidence.up_to(key, read.end)
        if known is None:
            return True
        # A reader that was sent it comes back within a minute, or waits in a feed that has it.
        is_fresh = (
            known.server != read.server and self._evidence.clock() - known.read_at < REFUSED_S
        )
        is_in_doubt = any(one.verification.is_in_doubt for one in self._table.of_key(key))
        return not (is_fresh or is_in_doubt) or known.is_same(read)

    def _act(
        self,
        stream: FollowedStream,
        found: str,
        fetch: SharedResponse,
        facts: StreamRead | None = None,
    ) -> None:
        """Do what follows from the verdict on a response: end the stream, or have it compared."""
        if found is UNKNOWN and facts is None:
            stream.compare()
        elif found is UNKNOWN:
            stream.doubt(is_shorter=True)
        elif found is ANOTHER and facts is not None:
            stream.end(StreamGone(ANOTHER_STREAM))
            if facts.next_offset != fetch.request.start:  # else the origin may only have echoed it
                self._evidence.lost.note(stream.key, facts.next_offset)

    def note_end(self, fetch: SharedResponse, end: str) -> None:
        """Doubt a followed stream if a read of it ends before the stream's expected end."""
        stream = self._table.by_key.get(fetch.request.stream_key)
        if stream is not None and is_behind(stream, fetch, end):
            stream.doubt(is_shorter=True)

    def distrust(self, path: str) -> None:
        """Drop everything rendered of a path, because an answer may have been another request's."""
        self._reader.distrust(path)
        for stream in self._table.of_path(path):
            stream.doubt()

    # Whether a reader may go on

    def comparison_before(self, fetch: SharedResponse) -> Callable[[], Awaitable[None]] | None:
        """Return the comparison that a read from a reader's offset has to wait for, or None.

        It has to wait if the server that has begun to answer is not known to have the data before
        that offset: it is another server than before, or it has failed since.
        """
        request, server = fetch.request, fetch.server
        if request.path not in self._table.by_path and (
            request.start in ANYWHERE
            or all(one.server == server for one in self._evidence.of(request.stream_key))
        ):
            return None
        try:
            unsure = self._unsure(self._followed(request, server), fetch)
        except HeadgateError as error:  # the limit of followed streams is reached
            raise OriginBusy(UNSURE, RETRY_S) from error
        if not unsure or request.start in ANYWHERE:
            return None
        return partial(self._until_sure, unsure, fetch)

    def _followed(self, request: CacheRequest, server: str) -> list[FollowedStream]:
        """Return the followed streams that a read is of, after following one if need be.

        Raises HeadgateError if it may not be followed.
        """
        key = request.stream_key
        streams = [one for one in self._table.of_key(key) if one.polls is not None]
        while not streams and (read := self._evidence.unlike(key, request.start, server)):
            try:
                streams = [self._follow(request, read)]
            except StreamGone:  # a reader with these data is refused already
                self._evidence.drop(key, read)
        return streams

    def _unsure(self, streams: list[FollowedStream], fetch: SharedResponse) -> list[FollowedStream]:
        """Return the streams that are compared before a read: its reader may have other data."""
        start = fetch.request.start
        found = {one: verdict(one, fetch, self._evidence) for one in streams}
        having = [one for one in streams if start in one.verification.window.distances]
        if having and all(found[one] is SAME for one in having):
            return []
        for stream in streams:
            self._act(stream, found[stream], fetch)
        return [one for one in streams if found[one] is not SAME]

    async def _until_sure(self, unsure: list[FollowedStream], fetch: SharedResponse) -> None:
        """Wait until the streams are compared.

        Raises OriginBusy if that takes too long, and StreamGone if the reader's data are lost.
        """
        now = asyncio.get_running_loop().time
        key, start = fetch.request.stream_key, fetch.request.start
        streams, until = unsure, now() + LONGEST_COMPARISON_S
        read = self._evidence.unlike(key, start, fetch.server)
        while unsure:
            for stream in unsure:
                await is_set_within(stream.verification.comparison, until - now())
            is_lost = read is not None and self._evidence.up_to(key, read.end) is None
            if is_lost or self._evidence.refuses(key, start):
                raise StreamGone(ANOTHER_STREAM)
            # Another doubt may have arisen since the end of a comparison.
            unsure = self._unsure(streams, fetch)
            if unsure and (now() >= until or any(one not in self._table for one in unsure)):
                raise OriginBusy(UNSURE, RETRY_S)

    # What is lost

    def rest(self, stream: FollowedStream) -> None:
        """Keep evidence of the newest data of a stream that is no longer followed."""
        verified = stream.verification
        server = unknown_server() if verified.is_in_doubt else verified.server
        newest = verified.window.evidence_by(server)
        if newest is None:
            return
        read = self._evidence.up_to(stream.key, newest.end)
        if verified.is_in_doubt or read is None or verified.is_trusted(read.server):
            self._evidence.add(stream.key, newest)

    def lose(self, stream: FollowedStream) -> None:
        """Refuse offsets of a lost stream to clients that come back with them."""
        key, end = stream.requests.current.stream_key, stream.state.known_end
        # A client may have made the offset up, and the origin echoed it.
        if not (stream.state.has_tail or stream.verification.window.newest):
            self._evidence.lost.lose_echoed(key, end, self._evidence.clock())
            return
        verified = stream.verification
        common, held = verified.lost or verified.window.offsets_beyond("", 0)
        if verified.window.evidence is not None:  # else the next one to be followed had it, too
            self._evidence.drop(key, verified.window.evidence)
        self._evidence.lose(key, common, end, held)
        for other in self._table.of_key(key):
            if other is not stream:  # its readers are not to be refused
                for offset in other.verification.window.distances:
                    self._evidence.lost.note(key, offset)
