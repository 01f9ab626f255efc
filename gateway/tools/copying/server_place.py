"""The streams below a base URL of a Durable Streams server."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headgate.errors import StreamClosed, StreamConflict
from headgate.following import catch_up
from headgate.names import whole_number
from headgate.stream_requests import ProducerStamp
from typing_extensions import override

from gateway.errors import BadRequest
from gateway.protocol.bodies.content import is_json
from gateway.protocol.requests import parse_lifetime
from gateway.tools.copying.contract import (
    ContentPart,
    CopiedStream,
    CopyPlace,
    Description,
    StreamEntry,
    StreamRefused,
    parts_of,
)
from gateway.tools.server.listing import NameSearch, streams_below
from gateway.tools.server.target import without_secrets
from gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from headgate.retries import Retries
    from headgate.stream_requests import Appended, Metadata, StreamRequests


class ServerPlace(CopyPlace):
    """A server, and its admin API where it is a Headgate whose streams are to be listed."""

    def __init__(
        self, base: StreamRequests, retries: Retries, admin: StreamRequests | None
    ) -> None:
        self.shown = without_secrets(base.url.rstrip("/"))
        self._base = base
        self._retries = retries
        self._admin = admin

    @override
    async def listed(self, prefix: str) -> AsyncIterator[StreamEntry]:
        assert self._admin is not None, "names come from elsewhere without an admin API"
        base = self._base.url.rstrip("/")
        home = len(urlsplit(base).path) + 1
        async for found in streams_below(self._admin, base, NameSearch(prefix)):
            yield StreamEntry(found.path[home:], (found.row.tail, found.row.closed))

    @override
    async def subscriptions(self) -> None:
        return None

    @override
    def stream(self, path: str, producer_id: str) -> ServerStream:
        one = self._base.beside(f"{self._base.url.rstrip('/')}/{path}")
        return ServerStream(one, self._retries, producer_id)


class ServerStream(CopiedStream):
    """A stream of a server. A producer numbers the appends of all copies from one source.

    A number is stored once: so an append that was sent by an interrupted copy, and arrives late, is
    either read before the next one is sent, or has the number of the next one, and one of the two
    is refused as a duplicate.
    """

    def __init__(self, stream: StreamRequests, retries: Retries, producer_id: str) -> None:
        self._stream = stream
        self._retries = retries
        self._producer_id = producer_id
        self._seq = 0
        self._content_type = ""

    @override
    async def describe(self) -> Description | None:
        found = await self._retries.run(self._stream.find)
        return None if found is None else self._described(found)

    def _described(self, found: Metadata) -> Description:
        if not found.content_type:
            raise StreamRefused("the server sends no content type for it")
        self._content_type = found.content_type
        fields = {}
        if found.ttl_s is not None:
            fields["Stream-TTL"] = str(found.ttl_s)
        elif found.expires_at is not None:
            fields["Stream-Expires-At"] = found.expires_at
        try:
            lifetime = parse_lifetime(fields)
        except BadRequest as cause:
            raise StreamRefused(f"the server sends an invalid lifetime: {cause}") from cause
        return Description(found.content_type, lifetime, found.is_closed, found.next_offset)

    @override
    async def pieces(self, offset: str | None) -> AsyncGenerator[Sequence[ContentPart]]:
        batches = catch_up(
            self._stream,
            "-1" if offset is None else offset,
            in_parts=lambda content_type: not is_json(content_type),
        )
        begun = offset
        async with aclosing(batches) as read_batches:
            async for content_type, batch in read_batches:
                ends = batch.position.offset
                # Parts of one answer, but the last, bear the offset at which it began.
                known = None if ends == begun else ends
                yield [
                    piece for body in batch.bodies for piece in parts_of(content_type, body, known)
                ]
                begun = ends

    @override
    async def create(self, wanted: Description) -> Description:
        fields = {}
        if wanted.lifetime.ttl_s is not None:
            fields["Stream-TTL"] = str(wanted.lifetime.ttl_s)
        elif wanted.lifetime.expires_text is not None:
            fields["Stream-Expires-At"] = wanted.lifetime.expires_text
        made = await self._retries.run(
            lambda: self._stream.create(content_type=wanted.content_type, headers=fields)
        )
        self._content_type = made.content_type or wanted.content_type
        return Description(self._content_type, wanted.lifetime, made.is_closed, made.next_offset)

    @override
    async def append(self, pieces: Sequence[ContentPart]) -> str | None:
        datas = [piece.data for piece in pieces]
        body = b"".join(datas)
        if is_json(self._content_type):
            body = b"[%b]" % b",".join(datas)
        try:
            appended = await self._retries.run(lambda: self._append(body))
        except StreamClosed as refusal:
            raise StreamRefused("the copy is closed, and lacks data of the source") from refusal
        except StreamConflict as refusal:
            expected = whole_number(refusal.headers.get("Producer-Expected-Seq", ""))
            if expected is None:
                raise
            self._seq = expected  # the server has forgotten a producer that was idle
            return None
        if appended.producer_seq is None:
            raise Failed(
                f"{self._stream.shown}: the server sent no Producer-Seq, so it does not support "
                "producers, and no append could be repeated safely"
            )
        self._seq = appended.producer_seq + 1
        return None if appended.is_duplicate else appended.next_offset

    async def _append(self, body: bytes) -> Appended:
        return await self._stream.append(
            body,
            content_type=self._content_type,
            producer=ProducerStamp(self._producer_id, 0, self._seq),
        )

    @override
    async def close(self) -> None:
        await self._retries.run(self._stream.close)
