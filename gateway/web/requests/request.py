"""A request as its handler has it, however its head was read."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from aiohttp.http import HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDict

from gateway.runtime.request_fields import RequestFields
from gateway.web.requests.own_lines import NOTHING
from gateway.web.requests.request_block import SEQ, KnownRequest

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.http_writer import HttpVersion
    from aiohttp.streams import StreamReader
    from multidict import MultiMapping

    from gateway.runtime.exchange import Exchange
    from gateway.web.requests.own_lines import OwnLines


class ClientConnection(Protocol):
    """A client's connection, as far as a request needs it."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's transport, or None once the client is gone."""

    def ends_without_client(self, request: Request) -> None:
        """End a request whose client is gone, when it may go on no more."""


class Request:
    """The head and the body of one request, and the connection that it came on.

    `target` is the target of the request line as it was sent. `fields` are shared by all requests
    that say the same, but for the lines that are this one's `own`, and for `seq`, its Producer-Seq.
    `whole` is a body that came with its head; of any other, `body` gives the parts as they come.

    One that `is_last` must be the last of its connection. After a chunked one, aiohttp's parser
    (3.14) takes the last trailer for a header of the next request, which behind a proxy is somebody
    else's. A request with any other coding may be framed differently there and here. After a
    request that offers an upgrade, the parser drops what follows.

    One that `is_followed` is answered together with others behind it, whatever happens meanwhile.

    Once its client is gone, the handler may go on for `grace_s` seconds, or for as long as it takes
    where that is None.
    """

    __slots__ = (
        *("_headers", "body", "connection", "exchange", "fields", "grace_s", "held"),
        *("is_followed", "is_last", "message", "method", "own", "seq", "should_close"),
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
        self.target: str = message.path
        self.should_close: bool = message.should_close
        self.connection = connection
        self.whole: bytes | None = None
        self.body = EMPTY_PAYLOAD
        if isinstance(body, bytes):
            self.whole = body
        else:
            self.body = body
        self.version: HttpVersion = HttpVersion11
        self.own: OwnLines = NOTHING
        self.seq: str | None = None
        self.is_last = self.is_followed = False
        if isinstance(message, KnownRequest):
            self.fields, self.own, self.seq = message.fields, message.own, message.seq
        else:
            self.fields, self.version = RequestFields(message.headers), message.version
            is_framed_so = "Transfer-Encoding" in message.headers
            self.is_last = message.should_close or message.upgrade or is_framed_so
        self._headers: MultiMapping[str] | None = None
        self.exchange: Exchange | None = None  # what is counted of it
        self.grace_s: float | None = None
        self.held: ExitStack | None = None  # closed with its end

    @property
    def headers(self) -> MultiMapping[str]:
        """All header fields."""
        headers = self._headers
        if headers is None:
            headers = self.fields.headers
            if self.seq is not None or self.own is not NOTHING:
                headers = with_own(headers, self.own, self.seq)
            self._headers = headers
        return headers

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's transport, or None once the client is gone."""
        return self.connection.transport

    @property
    def has_body(self) -> bool:
        """Whether something of a body is there to be read, or may still come."""
        if self.whole is not None:
            return bool(self.whole)
        return not self.body.at_eof()

    @property
    def is_coming(self) -> bool:
        """Whether a part of the body is still to come."""
        return self.whole is None and not self.body.is_eof()

    @property
    def received(self) -> int:
        """How many bytes of the body have come."""
        return self.body.total_bytes if self.whole is None else len(self.whole)

    @property
    def content_length(self) -> int | None:
        """The length of the body in bytes, if the request says it."""
        if self.whole is not None:
            return len(self.whole)
        length = self.headers.get("Content-Length")
        return None if length is None else int(length)

    def stays(self, grace_s: float) -> None:
        """Let the handler go on for so long without its client, who may be gone already.

        Raises ConnectionResetError where it is, and there is no such time.
        """
        self.grace_s = grace_s
        if self.transport is None:
            if not grace_s:
                raise ConnectionResetError("the client is gone")
            self.connection.ends_without_client(self)

    def releases(self, release: Callable[[], object]) -> None:
        """Have `release` called when the request is over, or at once where this cannot be noted."""
        try:
            self.resources().callback(release)
        except BaseException:
            release()
            raise

    def resources(self) -> ExitStack:
        """Return what the request holds, which is given back when it is over, however it ends.

        It is over when the client has taken the answer, or is gone.
        """
        if self.held is None:
            self.held = ExitStack()
        return self.held


def exchange_of(request: Request) -> Exchange:
    """Return what is counted of a request that is being handled."""
    exchange = request.exchange
    assert exchange is not None, "the handlers begin with it"
    return exchange


def with_own(shared: MultiMapping[str], own: OwnLines, seq: str | None) -> CIMultiDict[str]:
    """Return header fields with those of one request, which `shared` lack or have of another."""
    headers = CIMultiDict(shared)
    if seq is not None:
        headers[SEQ] = seq
    if own.id is not None:
        headers["X-Request-Id"] = own.id
    if own.tag is not None:
        headers["If-None-Match"] = own.tag
    return headers
