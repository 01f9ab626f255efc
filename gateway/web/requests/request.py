"""A request as handlers get it from its connection, whether its head was parsed or cached."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp.streams import EMPTY_PAYLOAD

from gateway.runtime.request_fields import NOTHING, RequestFields
from gateway.web.requests.blocks import KnownRequest

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.http_writer import HttpVersion
    from aiohttp.streams import StreamReader
    from multidict import MultiMapping

    from gateway.routes.exchange import Exchange
    from gateway.runtime.request_fields import Own
    from gateway.telemetry.access_log import AccessLog


class ClientConnection(Protocol):
    """A client's connection, as a request uses it."""

    owner: Any = None  # its listener, which `is_closing` while the server stops

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's transport, or None once the client is gone."""

    def end_with_fin(self) -> None:
        """End the request at a FIN of its client. Raises ConnectionResetError after one."""

    def cancel_without_client(self, request: Request) -> None:
        """Cancel a request without a client, once its grace_s is over."""

    def cancel_request(self, request: Request) -> None:
        """Cancel a request, if it is still under way."""


class Request:
    """The head and the body of one request, and the connection that it came on.

    `target` is the target of the request line as it was sent. `fields` may be shared by requests
    with equal fields; the values in which this one differs are its `own`.
    `whole` is a body that came with its head; any other is read from `body`.

    A request with `is_last` must be the last of its connection. After a chunked body, aiohttp's
    parser (3.14) takes the last trailer for a header of the next request, which behind a proxy may
    be another client's. With any other transfer coding, a proxy may see another end of the body.
    After a request that offers an upgrade, the parser drops what follows.

    A request with `is_followed` is answered together with others after it, and so keeps the
    connection open even while the server stops.

    Once the client is gone, the handler may go on for `grace_s` seconds; None sets no limit.
    """

    __slots__ = (
        *("_headers", "body", "connection", "exchange", "fields", "grace_s", "held"),
        *("is_followed", "is_last", "message", "method", "own"),
        *("target", "version", "whole"),
    )

    def __init__(
        self,
        message: RawRequestMessage | KnownRequest,
        body: StreamReader | bytes,
        connection: ClientConnection,
    ) -> None:
        self.message = message
        self.method: str = message.method
        self.target: str = message.path or ""  # None for a CONNECT to nothing
        self.connection = connection
        self.whole: bytes | None = None
        self.body = EMPTY_PAYLOAD
        if isinstance(body, bytes):
            self.whole = body
        else:
            self.body = body
        self.version: HttpVersion = message.version
        self.own: Own = NOTHING
        self.is_last = self.is_followed = False
        if isinstance(message, KnownRequest):
            self.fields, self.own = message.fields, message.own
        else:
            self.fields = RequestFields(message.headers)
            is_chunked = "Transfer-Encoding" in message.headers  # or has another coding
            self.is_last = message.should_close or message.upgrade or is_chunked
        self._headers: MultiMapping[str] | None = None
        self.exchange: Exchange | None = None  # what is counted and logged
        self.grace_s: float | None = None
        self.held: ExitStack | None = None  # closed when the request is over

    @property
    def headers(self) -> MultiMapping[str]:
        """The header fields of this request, its own included, but for the length of a `whole`."""
        headers = self._headers
        if headers is None:
            headers = self.fields.headers
            if self.own.fields:
                headers = self.own.added_to(headers)
            self._headers = headers
        return headers

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's transport, or None once the client is gone."""
        return self.connection.transport

    @property
    def has_body(self) -> bool:
        """True when some of the body can be read, or may still come."""
        if self.whole is not None:
            return bool(self.whole)
        return not self.body.at_eof()

    @property
    def has_more_body(self) -> bool:
        """True when a part of the body is still to come."""
        return self.whole is None and not self.body.is_eof()

    @property
    def content_length(self) -> int | None:
        """The length of the body in bytes, or None if the request does not say."""
        if self.whole is not None:
            return len(self.whole)
        length = self.headers.get("Content-Length")
        return None if length is None else int(length)

    def limit_grace(self, grace_s: float) -> None:
        """Let the handler go on for `grace_s` seconds once the client is gone.

        Raises ConnectionResetError if it is gone already and `grace_s` is 0.
        """
        self.grace_s = grace_s
        if self.connection.transport is None:
            if not grace_s:
                raise ConnectionResetError("the client is gone")
            self.connection.cancel_without_client(self)

    def end_with_fin(self) -> None:
        """End the request at a FIN of its client: it waits for what is not there yet.

        Raises ConnectionResetError if the client has sent one already.
        """
        self.connection.end_with_fin()

    def finish(self, log: AccessLog, *, stopping: bool) -> None:
        """Count and log the request, which is over, and release its resources."""
        try:
            if self.exchange is not None:
                size = self.body.total_bytes if self.whole is None else len(self.whole)
                self.exchange.finish(size, log, stopping=stopping)
        finally:
            if self.held is not None:
                self.held.close()

    def call_at_end(self, release: Callable[[], object]) -> None:
        """Call `release` when the request is over, or at once if it cannot be registered."""
        try:
            self.resources().callback(release)
        except BaseException:
            release()
            raise

    def resources(self) -> ExitStack:
        """Return the stack of resources that are released when the request is over.

        A request is over when the client has received the response, or is gone.
        """
        if self.held is None:
            self.held = ExitStack()
        return self.held


def exchange_of(request: Request) -> Exchange:
    """Return the exchange of a request that is being handled."""
    exchange = request.exchange
    assert exchange is not None, "the handlers begin with it"
    return exchange
