"""One stream on a Durable Streams server, by the operations of the protocol."""

from __future__ import annotations

import logging
import random
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate import following
from headgate.backoff import Backoff
from headgate.endpoint import Endpoint
from headgate.errors import ABSENT, ProtocolError, RequestRefused
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
    """What makes an append happen once: the writer, its epoch, and the append's number in it."""

    id: str
    epoch: int
    seq: int

    def headers(self) -> dict[str, str]:
        """The fields of section 5.2.1 of the protocol."""
        return {
            PRODUCER_ID: self.id,
            PRODUCER_EPOCH: str(self.epoch),
            PRODUCER_SEQ: str(self.seq),
        }


@dataclass(frozen=True, slots=True)
class Appended:
    """The answer to an append; not every server tells an offset for what it had already.

    `producer_seq` is the highest number that the server has of the producer, in its epoch.
    """

    next_offset: str | None
    is_duplicate: bool
    is_closed: bool
    producer_seq: int | None = None
    # As in Metadata.
    takes_multi: bool = False


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a server tells of a stream; `ttl_s` counts from the last read or write."""

    content_type: str
    next_offset: str
    is_closed: bool
    ttl_s: int | None
    expires_at: str | None
    # Whether several messages may go in one append (`X-Stream-Multi`).
    takes_multi: bool
    # False when a creation found the stream there already.
    is_new: bool = False


class Stream(Endpoint):
    """One stream, by its URL.

    `authorization` is the whole value of the field, such as `Bearer TOKEN`. Without a `session`
    the stream makes one of its own, and closes it with the block: `async with Stream(url) as s`.
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
        """Create the stream, perhaps with first data; one that is there with this is left as is.

        `ttl_s` counts whole seconds from the last read or write. `headers` are any other fields.
        """
        fields = dict(headers or {})
        if content_type is not None:
            fields["Content-Type"] = content_type
        if ttl_s is not None:
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
        """Append once, and perhaps close with it; an empty body only closes.

        The content type must be the stream's. Unavailable leaves it open whether it was stored,
        unless a `producer` is given: then the very same append may be sent again.
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
        """What the server tells of the stream without reading it."""
        try:
            async with self.request("HEAD") as answer:
                return self._metadata(answer.headers)
        except RequestRefused as found:
            raise await self._told(found) from found

    async def use(self, offset: str) -> None:
        """Read at `offset`, so that the TTL counts anew, and leave what is there.

        At the tail this is the least that counts as a use: `head` and, on some servers, a read
        from `now` do not.
        """
        async with self.request("GET", query={"offset": offset}):
            return

    async def find(self) -> Metadata | None:
        """What `head` tells; None when the stream is not there."""
        try:
            return await self.head()
        except ABSENT:
            return None

    async def close(self) -> Appended:
        """Close the stream to further appends: its readers come to an end."""
        return await self.append(b"", is_closing=True)

    async def delete(self) -> None:
        """Delete the stream and all its data."""
        async with self.request("DELETE"):
            return

    async def catch_up(self, offset: str = "-1") -> AsyncGenerator[Batch]:
        """What is in the stream from `offset` to its tail now, in batches."""
        async with aclosing(following.catch_up(self, offset)) as batches:
            async for _, batch in batches:
                yield batch

    async def follow(self, offset: str = "-1") -> AsyncGenerator[Batch]:
        """Batches from `offset` on until the stream is closed, across lost connections.

        They come as SSE, which has no carriage returns: in a stream of text they are line feeds.
        Raises StreamGone when the stream is deleted or expires meanwhile.
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
                f"{self.shown}: the server sent a Content-Type with control characters in it"
            )
        return Metadata(
            content_type=content_type,
            next_offset=self.next_offset(headers),
            is_closed=is_closed(headers),
            ttl_s=whole_number(headers.get(TTL, "")),
            expires_at=headers.get(EXPIRES_AT),
            takes_multi=_takes_multi(headers),
            is_new=is_new,
        )

    async def _told(self, found: RequestRefused) -> RequestRefused:
        """The refusal of a HEAD in the server's words: only that of a GET has a body for them."""
        if found.status is None:
            return found
        try:
            async with self.request("GET", query={"offset": "now"}):
                return found
        except RequestRefused as told:
            return told if told.status == found.status else found


def _takes_multi(headers: Mapping[str, str]) -> bool:
    return headers.get(MULTI, "").lower() == "true"
