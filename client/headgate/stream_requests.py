"""The operations of the Durable Streams protocol on one stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ProducerStamp:
    """The producer id, epoch and sequence number by which a server stores an append only once."""

    id: str
    epoch: int  # a higher one fences those before it
    seq: int  # of the append in its epoch, from 0 on

    def headers(self) -> dict[str, str]:
        """Return the header fields of section 5.2.1 of the protocol."""
        return {
            PRODUCER_ID: self.id,
            PRODUCER_EPOCH: str(self.epoch),
            PRODUCER_SEQ: str(self.seq),
        }


@dataclass(frozen=True, slots=True)
class Appended:
    """The result of an append."""

    next_offset: str | None  # None at some servers for a duplicate
    is_duplicate: bool  # this append of a producer was stored before
    is_closed: bool
    producer_seq: int | None = None  # the highest that the server has of the epoch
    takes_multi: bool = False


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of a stream.

    Attributes:
        content_type: The content type of the stream.
        next_offset: The offset after its last data.
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

    Every method raises `Unavailable` if the server is away or busy, and the `StreamError` of any
    other error status.
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

        It expires `ttl_s` seconds after the last read or write. If it `is_closed`, `body` is all
        of its data. Raises Conflict if it exists with another configuration.
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

        The same append may safely be sent again with the same stamp of a `producer`. Raises Closed,
        Conflict for another content type or number of the producer, Fenced if another producer of
        the id has a higher epoch, and TooLarge.
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

    async def close(self) -> Appended:
        """Close the stream: it takes no more appends, and its readers come to the end."""
        return await self.append(b"", is_closing=True)

    async def head(self) -> Metadata:
        """Return the metadata of the stream, without reading data."""
        try:
            return await self._head()
        except StreamError as found:
            if found.status is None:
                raise
            try:  # only the answer to a GET has the reason
                async with self.request("GET", query={"offset": "now"}):
                    pass
            except StreamError as refusal:
                if refusal.status == found.status:
                    raise
            raise

    async def find(self) -> Metadata | None:
        """Return the metadata of the stream; None if it does not exist any more or yet."""
        try:
            return await self._head()
        except ABSENT:
            return None

    async def delete(self) -> None:
        """Delete the stream and all its data."""
        async with self.request("DELETE"):
            return

    async def _head(self) -> Metadata:
        async with self.request("HEAD") as answer:
            return self._metadata(answer.headers)

    def _metadata(self, headers: Mapping[str, str], *, is_new: bool = False) -> Metadata:
        content_type = headers.get("Content-Type", "")
        if not content_type.isprintable():  # no append could have it
            raise ProtocolError(
                "the server sent a Content-Type with control characters in it", stream=self.shown
            )
        # Headgate's multi-append is newer than producers; others name their fields to pages.
        exposed = headers.get("Access-Control-Expose-Headers", "").lower()
        takes_multi = _takes_multi(headers)
        return Metadata(
            content_type=content_type,
            next_offset=self.next_offset(headers),
            is_closed=is_closed(headers),
            ttl=whole_number(headers.get(TTL, "")),
            expires_at=headers.get(EXPIRES_AT),
            takes_multi=takes_multi,
            takes_producers=takes_multi or PRODUCER_SEQ.lower() in exposed,
            is_new=is_new,
        )


def _takes_multi(headers: Mapping[str, str]) -> bool:
    return headers.get(MULTI, "").lower() == "true"
