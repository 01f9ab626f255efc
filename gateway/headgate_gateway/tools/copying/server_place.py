"""The streams below a base URL of a Durable Streams server, which are copied from there."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headgate.following import catch_up
from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.bodies.content import is_json
from headgate_gateway.protocol.requests import parse_lifetime
from headgate_gateway.tools.copying.contract import Description, StreamRefused, parts_of
from headgate_gateway.tools.server.listing import NameSearch, streams_below
from headgate_gateway.tools.server.target import without_secrets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from headgate.retries import Retries
    from headgate.stream_requests import Metadata, StreamRequests


class ServerPlace:
    """A server, and its admin API where it is a Headgate whose streams are to be listed."""

    def __init__(
        self, base: StreamRequests, retries: Retries, admin: StreamRequests | None
    ) -> None:
        self.shown = without_secrets(base.url.rstrip("/"))
        self._base = base
        self._retries = retries
        self._admin = admin

    async def listed(self, prefix: str) -> AsyncIterator[str]:
        """Yield the paths of streams that begin with `prefix`; one page of them is in memory."""
        assert self._admin is not None, "names come from elsewhere without an admin API"
        base = self._base.url.rstrip("/")
        home = len(urlsplit(base).path) + 1
        async for found in streams_below(self._admin, base, NameSearch(prefix)):
            yield found.path[home:]

    def stream(self, path: str) -> ServerStream:
        """Return the stream at a path."""
        return ServerStream(
            self._base.beside(f"{self._base.url.rstrip('/')}/{path}"), self._retries
        )


class ServerStream:
    """A stream of a server, which is read."""

    def __init__(self, stream: StreamRequests, retries: Retries) -> None:
        self._stream = stream
        self._retries = retries

    async def describe(self) -> Description | None:
        """Return the present properties of the stream; None if there is none."""
        found = await self._retries.run(self._stream.find)
        return None if found is None else _description_of(found)

    async def pieces(self) -> AsyncGenerator[Sequence[bytes]]:
        """Yield the content, a page at a time."""
        batches = catch_up(
            self._stream, "-1", in_parts=lambda content_type: not is_json(content_type)
        )
        async with aclosing(batches) as read_batches:
            async for content_type, batch in read_batches:
                yield [piece for body in batch.bodies for piece in parts_of(content_type, body)]


def _description_of(found: Metadata) -> Description:
    if not found.content_type:
        raise StreamRefused("the server sends no content type for it")
    fields = {}
    if found.ttl is not None:
        fields["Stream-TTL"] = str(found.ttl)
    elif found.expires_at is not None:
        fields["Stream-Expires-At"] = found.expires_at
    try:
        lifetime = parse_lifetime(fields)
    except BadRequest as cause:
        raise StreamRefused(f"the server sends an invalid lifetime: {cause}") from cause
    return Description(found.content_type, lifetime, found.is_closed, found.next_offset)
