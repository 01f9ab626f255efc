"""The operations of the Durable Streams protocol on one stream."""

from __future__ import annotations

import logging
import random
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate import following
from headgate.backoff import Backoff
from headgate.endpoint import Endpoint
from headgate.errors import ABSENT, ProtocolError, StreamError, check_number
from headgate.names import (
    CLOSED,
    EXPIRES_AT,
    MULTI,
    NEXT_OFFSET,
    PRODUCER_EPOCH,
    PRODUCER_ID,
    PRODUCER_SEQ,
    TTL,
    is_closed,
    whole_number,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from headgate.following import Batch

log = logging.getLogger("headgate")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # before a lost connection is made again


@dataclass(frozen=True, slots=True)
class ProducerStamp:
    """The producer id, epoch and sequence number by which a server stores an append only once.

    Attributes:
        id: The id of the producer.
        epoch: Which of the producers of this id it is: a higher one fences those before it.
        seq: The number of the append in its epoch, from 0 on.
    """

    id: str
    epoch: int
    seq: int

    def headers(self) -> dict[str, str]:
        """Return the header fields of section 5.2.1 of the protocol."""
        return {
            PRODUCER_ID: self.id,
            PRODUCER_EPOCH: str(self.epoch),
            PRODUCER_SEQ: str(self.seq),
        }


@dataclass(frozen=True, slots=True)
class Appended:
    """The result of an append.

    Attributes:
        next_offset: The offset after the data; it may be None for a duplicate.
        is_duplicate: Whether the server had stored this append of a producer before.
        is_closed: Whether the stream is closed now.
        producer_seq: The highest number that the server has of the producer, in its epoch.
        takes_multi: Whether several messages may go in one append.
    """

    next_offset: str | None
    is_duplicate: bool
    is_closed: bool
    producer_seq: int | None = None
    takes_multi: bool = False


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of a stream.

    Attributes:
        content_type: The content type of the stream.
        next_offset: The offset behind its last data.
        is_closed: Whether it takes no more appends.
        ttl: Seconds from the last read or write until it expires, if that is how it expires.
        expires_at: The moment at which it expires, in RFC 3339, if it has one.
        takes_multi: Whether several messages may go in one append (`X-Stream-Multi`).
        takes_producers: Whether the server says that it knows producers. It may know them anyway.
        is_new: Whether this call of `create` has made it.
    """

    content_type: str
    next_offset: str
    is_closed: bool
    ttl: int | None
    expires_at: str | None
    takes_multi: bool
    takes_producers: bool = False
    is_new: bool = False


class StreamRequests(Endpoint):
    """The requests of the protocol to one stream, each made once.

    Every method raises `Unavailable` if the server is away or busy, `NotAuthorized` for a wrong
    credential, and another `StreamError` for any other error status.

    Args:
        url: The URL of the stream.
        authorization: The whole value of the `Authorization` field, such as `Bearer TOKEN`, or a
            function that returns it.
        session: The aiohttp session of the requests. Without one, it makes a session of its own,
            which it closes at the end of the block.
    """

    async def create(
        self,
        *,
        content_type: str | None = None,
        ttl_s: int | None = None,
        is_closed: bool = False,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Metadata:
        """Create the stream, or leave it as it is if it exists with the same configuration.

        Args:
            content_type: The content type of the stream; by default the server's choice.
            ttl_s: Whole seconds from the last read or write until the stream expires; None for
                never.
            is_closed: Whether the stream is closed at once, with `body` as all of its data.
            body: The first data.
            headers: Other header fields of the request.

        Returns:
            The metadata; `is_new` is False if the stream existed.

        Raises:
            Conflict: The stream exists with another configuration.
        """
        fields = dict(headers or {})
        if content_type is not None:
            fields["Content-Type"] = content_type
        if ttl_s is not None:
            check_number("ttl_s", ttl_s, is_whole=True)
            fields[TTL] = str(ttl_s)
        if is_closed:
            fields[CLOSED] = "true"
        async with self.request("PUT", headers=fields, body=body) as answer:
            return self._metadata(answer.headers, is_new=answer.status == 201)

    async def append(
        self,
        body: bytes,
        *,
        content_type: str | None = None,
        producer: ProducerStamp | None = None,
        is_closing: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Appended:
        """Append data in one request, which may also close the stream.

        Args:
            body: The data; it may be empty if `is_closing`.
            content_type: The content type of the stream, which the server compares.
            producer: The producer's stamp, with which the same append may safely be sent again.
            is_closing: Whether the stream is closed with this append.
            headers: Other header fields of the request.

        Returns:
            The offset behind the data, and whether the server had stored this append before.

        Raises:
            Closed: The stream is closed.
            Conflict: The content type or the producer's sequence number does not match.
            Fenced: A producer of the same id has a higher epoch.
            TooLarge: The body is larger than the server accepts.
            Unavailable: The server is away. Without a `producer` it is unknown whether the data
                was stored.
        """
        fields = dict(headers or {})
        if content_type is not None and body:
            fields["Content-Type"] = content_type
        if producer is not None:
            fields |= producer.headers()
        if is_closing:
            fields[CLOSED] = "true"
        async with self.request("POST", headers=fields, body=body or None) as answer:
            is_duplicate = producer is not None and answer.status == 204 and bool(body)
            offset = answer.headers.get(NEXT_OFFSET)
            if not is_duplicate:
                offset = self.next_offset(answer.headers)
            return Appended(
                offset,
                is_duplicate,
                is_closed(answer.headers),
                whole_number(answer.headers.get(PRODUCER_SEQ, "")),
                _takes_multi(answer.headers),
            )

    async def head(self) -> Metadata:
        """Return the metadata of the stream, without reading data.

        Raises:
            StreamNotFound: There is no such stream.
            Gone: The stream was deleted or has expired.
        """
        try:
            async with self.request("HEAD") as answer:
                return self._metadata(answer.headers)
        except StreamError as found:
            explained = await self._with_reason(found)
            if explained is found:
                raise  # with the cause that it has
            raise explained from found

    async def use(self, offset: str) -> None:
        """Read at `offset` and discard the data, so that the time to live begins anew.

        At the tail this is the least that counts as a use: `head` and, on some servers, a read
        from `now` do not.

        Args:
            offset: The offset to read at, such as the `next_offset` of the metadata.
        """
        async with self.request("GET", query={"offset": offset}):
            return

    async def find(self) -> Metadata | None:
        """Return the metadata of the stream; None if it does not exist any more or yet."""
        try:
            async with self.request("HEAD") as answer:
                return self._metadata(answer.headers)
        except ABSENT:  # whatever the reason, which only a GET gets
            return None
        except StreamError as found:
            explained = await self._with_reason(found)
            if explained is found:
                raise
            raise explained from found

    async def close(self) -> Appended:
        """Close the stream: it takes no more appends, and its readers come to the end.

        Returns:
            The result, with the final offset.
        """
        return await self.append(b"", is_closing=True)

    async def delete(self) -> None:
        """Delete the stream and all its data."""
        async with self.request("DELETE"):
            return

    async def catch_up(self, offset: str = "-1") -> AsyncGenerator[Batch]:
        """Yield batches of data from `offset` to the current tail.

        Args:
            offset: The offset to begin at, of an earlier batch's `position`; `-1` for the
                beginning.

        Yields:
            A batch for each response of the server.

        Raises:
            StreamNotFound: There is no such stream.
            Gone: The stream, or the data at the offset, is gone.
        """
        async with aclosing(following.catch_up(self, offset)) as batches:
            async for _, batch in batches:
                yield batch

    async def follow(self, offset: str = "-1") -> AsyncGenerator[Batch]:
        """Yield batches from `offset` on until the stream is closed, across lost connections.

        The data comes as SSE, which has no carriage returns: in a stream of text they become line
        feeds.

        Args:
            offset: The offset to begin at, of an earlier batch's `position`; `-1` for the
                beginning, `now` for the current tail.

        Yields:
            A batch as soon as it is appended; the last one has `is_last`.

        Raises:
            StreamNotFound: There is no such stream.
            Gone: The stream was deleted or has expired meanwhile.
        """
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, random.random)
        batches = following.follow(self, offset, following.sse, backoff=backoff, note=log.info)
        async with aclosing(batches):
            async for batch in batches:
                yield batch

    def _metadata(self, headers: Mapping[str, str], *, is_new: bool = False) -> Metadata:
        content_type = headers.get("Content-Type", "")
        if not content_type.isprintable():  # no append could have it
            raise ProtocolError(
                "the server sent a Content-Type with control characters in it", stream=self.shown
            )
        return Metadata(
            content_type=content_type,
            next_offset=self.next_offset(headers),
            is_closed=is_closed(headers),
            ttl=whole_number(headers.get(TTL, "")),
            expires_at=headers.get(EXPIRES_AT),
            takes_multi=_takes_multi(headers),
            takes_producers=_takes_producers(headers),
            is_new=is_new,
        )

    async def _with_reason(self, found: StreamError) -> StreamError:
        """Return the refusal of a HEAD with its reason, which only a GET gets."""
        if found.status is None:
            return found
        try:
            async with self.request("GET", query={"offset": "now"}):
                return found
        except StreamError as refusal:
            return refusal if refusal.status == found.status else found


def _takes_multi(headers: Mapping[str, str]) -> bool:
    return headers.get(MULTI, "").lower() == "true"


def _takes_producers(headers: Mapping[str, str]) -> bool:
    """Return whether the response shows a server that knows producers.

    Headgate's multi-append is newer than producers; others name their fields to pages.
    """
    exposed = headers.get("Access-Control-Expose-Headers", "").lower()
    return _takes_multi(headers) or PRODUCER_SEQ.lower() in exposed
