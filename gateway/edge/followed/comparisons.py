"""The comparisons that reads wait for, where another stream may be there than their reader had."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from gateway.edge.polls.verification import UNSURE
from gateway.edge.rules.lost_offsets import ANOTHER_STREAM
from gateway.errors import HeadgateError, OriginBusy, StreamGone
from gateway.protocol.streams.offsets import BEGINNING, NOW

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.edge.comparison import Evidence
    from gateway.edge.followed.followed_stream import FollowedStream
    from gateway.edge.followed.followed_table import FollowedTable
    from gateway.edge.followed.stream_evidence import StreamEvidence
    from gateway.edge.reads.fetch import SharedFetch
    from gateway.edge.rules.cached_response import CacheRequest

LONGEST_COMPARISON_S = 1.0  # that a read waits for a comparison, which takes one request, or a few
RETRY_S = 1
_ANYWHERE = frozenset({BEGINNING, NOW})  # offsets of every stream


class Comparisons:
    """The comparisons that a route's reads have to wait for, and start where need be.

    `follow` follows a stream from where a read ended, until it has been compared with the origin's.
    """

    def __init__(
        self,
        evidence: StreamEvidence,
        table: FollowedTable,
        follow: Callable[[CacheRequest, Evidence], FollowedStream],
    ) -> None:
        self._evidence = evidence
        self._table = table
        self._follow = follow

    def before(self, fetch: SharedFetch) -> Callable[[], Awaitable[None]] | None:
        """Return the comparison that a read from a reader's offset has to wait for, or None.

        It has to wait if the server that has begun to answer is not known to have the data before
        that offset: it is another server than before, or it has failed since.
        """
        request, server = fetch.request, fetch.server
        at_path = self._table.of_path(request.path)
        if not at_path and (
            self._evidence.reads.are_of(request.stream_key, server) or request.start in _ANYWHERE
        ):
            return None
        try:
            unsure = self._unsure(self._followed(request, server, at_path), request, server)
        except HeadgateError:  # the limit of followed streams is reached
            return self._refuse
        for one in unsure:
            if not one.verification.is_in_doubt:  # else each read would start it over
                one.doubt()
            one.trust.hurry()
        if not unsure or request.start in _ANYWHERE:
            return None
        return partial(self._until_sure, unsure, request, server)

    def _unlike(
        self, request: CacheRequest, server: str, *, is_known: bool = False
    ) -> Evidence | None:
        """Return evidence of what a reader may have from another server than this, or None."""
        start = request.start
        if start in _ANYWHERE:
            return None
        return self._evidence.reads.unlike(request.stream_key, start, server, is_known=is_known)

    def _followed(
        self, request: CacheRequest, server: str, at_path: Sequence[FollowedStream]
    ) -> list[FollowedStream]:
        """Return the followed streams that a read is of, after following one if need be.

        Raises HeadgateError if it may not be followed.
        """
        key = request.stream_key
        streams = [one for one in at_path if one.key == key and one.trust.can_be_compared]
        while not streams and (read := self._unlike(request, server)) is not None:
            try:
                streams = [self._follow(request, read)]
            except StreamGone:  # a reader with these data is refused already
                self._evidence.reads.drop(key, read)
        return streams

    def _unsure(
        self, streams: list[FollowedStream], request: CacheRequest, server: str
    ) -> list[FollowedStream]:
        """Return the streams to compare before a read, since its reader may have other data."""
        start = request.start
        unsure = [one for one in streams if not one.verification.is_sure_of(server, start)]
        having = [one for one in streams if start in one.verification.window.places]
        is_known = bool(having) and not any(one in having for one in unsure)
        if self._unlike(request, server, is_known=is_known) is not None:
            return streams
        return [] if is_known else unsure

    async def _refuse(self) -> None:
        raise OriginBusy(UNSURE, RETRY_S)

    async def _until_sure(
        self, unsure: list[FollowedStream], request: CacheRequest, server: str
    ) -> None:
        """Wait until the streams are compared.

        Raises OriginBusy if that takes too long, and StreamGone if the reader's data are lost.
        """
        now, key, streams = asyncio.get_running_loop().time, request.stream_key, unsure
        until, read = now() + LONGEST_COMPARISON_S, self._unlike(request, server)
        while unsure:
            for stream in unsure:
                await stream.trust.until_compared(until - now())
            is_lost = read is not None and self._evidence.reads.up_to(key, read.end) is None
            if is_lost or self._evidence.refuses(key, request.start):
                raise StreamGone(ANOTHER_STREAM)
            unsure = self._unsure(streams, request, server)
            followed = self._table.of_path(request.path)
            # Another doubt may have arisen since the end of a comparison.
            is_asked = all(one.verification.is_in_doubt and one in followed for one in unsure)
            if unsure and (now() >= until or not is_asked):
                raise OriginBusy(UNSURE, RETRY_S)
            for stream in unsure:
                stream.trust.hurry()

    def compare_new(self, stream: FollowedStream, server: str) -> None:
        """Compare a newly followed stream if servers other than `server` have sent data of it.

        Readers may come with offsets of another stream that this one has as well.
        """
        if any(read.server != server for read in self._evidence.reads.of(stream.key)):
            stream.doubt()
            stream.trust.hurry()
