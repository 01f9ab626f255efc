"""A client's connection: the requests that need no task are answered as soon as they are parsed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from gateway.live.contract import ReaderServer
from gateway.runtime.request_fields import RequestFields
from gateway.web import request_body, sent_ahead
from gateway.web.aiohttp_connection import Owner
from gateway.web.bounded_connection import BoundedConnection
from gateway.web.connection_state import HANDED_OVER, IDLE, TAKEN
from gateway.web.request_head import is_plain

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aiohttp import web
    from aiohttp.http_parser import RawRequestMessage

    from gateway.access.principal import Principal
    from gateway.cache.cache_result import Joined
    from gateway.live.contract import PollAnswer
    from gateway.telemetry.traffic import Polls
    from gateway.web.bare_transport import Descriptors
    from gateway.web.fast_path import FastPath
    from gateway.web.short_misses import Request


class StreamOwner(Owner, ReaderServer, Protocol):
    """The server that made a connection for streams, as far as the connection needs it."""

    fast: FastPath
    descriptors: Descriptors


class Connection(BoundedConnection):
    """Parses what comes, and gives aiohttp the requests that the fast path does not take."""

    __slots__ = ("_counted", "_fast", "_on_lost", "principal")
    owner: StreamOwner
    abandon = BoundedConnection.force_close  # implements Waiter.abandon

    def __init__(
        self,
        server: web.Server,
        owner: StreamOwner,
        early: bytes = b"",
        late: bytes = b"",
        **arguments: Any,  # noqa: ANN401 - aiohttp's
    ) -> None:
        """`early` came before this object; with `late`, which is left to be sent, it ends."""
        super().__init__(server, owner, early, late, **arguments)
        self.principal: Principal | None = None  # of the long-poll that waits
        self._fast = owner.fast
        self._on_lost: Callable[[Connection], object] | None = None
        self._counted: Polls | None = None  # where the long-poll that waits is counted

    def forget_waiting(self) -> None:
        """Forget what waits for this connection; appends under way go on without it."""
        if self._on_lost is not None:
            self._on_lost(self)
            self._on_lost = None
        self.principal = None
        if self._counted is not None:
            self._counted.cut()
            self._counted = None

    def hand_over(self, protocol: asyncio.Protocol, to: asyncio.Transport) -> None:
        """Give transport, or what has taken it over, to a protocol; for aiohttp it ends here."""
        to.set_protocol(protocol)
        self.enter(HANDED_OVER)
        self.transport = None
        self.connection_lost(None)

    def is_known(self, data: bytes) -> bool:
        """Whether a request came before, or its fields, and it is answered without being parsed."""
        # To look a long body up would cost more than it ever saves.
        if self._paused or self.shared.closing:
            return False
        known = self._fast.known(data) if data.startswith(b"GET ") else None
        if known is not None and self._fast.again(self, known):
            self.went_on(should_close=known.is_last)
            return True
        read = self._fast.blocks.read(data)
        if read is None:
            return sent_ahead.take(self, self._fast, data)
        request, body = read
        if request.method == "GET":
            taken = not body and self._fast.get(self, data, request)
        else:
            taken = self._fast.writes.take(self, request, request.fields, body, request.seq)
        if taken:
            self.went_on(should_close=False)
        return taken

    # Answering

    def is_answered(
        self, head: bytes | None, message: RawRequestMessage, payload: StreamReader
    ) -> bool:
        """Whether the short ways took a request; `head` is all of it, if it came as one piece."""
        if self._paused or self.shared.closing or not is_plain(message, self.shared.hosts):
            return False
        if head is not None:
            self._fast.remember_block(head, message, payload.total_bytes)
        if message.method == "GET":
            taken = payload is EMPTY_PAYLOAD and self._fast.get(self, head, message)
        elif message.method in {"POST", "PUT"} and not message.should_close:
            taken = self._is_whole(payload) and self._fast.writes.take(
                self, message, RequestFields(message.headers), request_body.at_hand(payload)
            )
        else:
            taken = False
        if taken:
            if self._parser is not None:
                self._parser.message_consumed()
            self.went_on(should_close=message.should_close)
        return taken

    def _is_whole(self, payload: StreamReader) -> bool:
        """Whether a body is here; one that made aiohttp pause reading is long, and is not."""
        return payload.is_eof() and payload.exception() is None and not self._reading_paused

    def went_on(self, *, should_close: bool) -> None:
        """A request was answered without aiohttp, or will be."""
        self._deadline = None
        self._request_count += 1
        if self.state is IDLE:  # else it is idle from its answer on
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if should_close:
            self.force_close()

    def take(
        self, on_lost: Callable[[Connection], object] | None = None, counted: Polls | None = None
    ) -> None:
        """Keep the connection for an answer that comes later."""
        self.enter(TAKEN)
        self._on_lost = on_lost
        self._counted = counted

    def tell_loss(self, on_lost: Callable[[Connection], object] | None) -> None:
        """Whom to tell when the client leaves while a task waits for its answer."""
        self._on_lost = on_lost

    def answer(self, answer: PollAnswer) -> None:
        """Write the answer to a long-poll that came later."""
        counted, self._counted = self._counted, None
        if counted is not None:
            answer.begun[counted.begins] += 1
        self.principal = None
        self.reply(answer.wire)

    def reply(self, wire: bytes) -> bool:
        """Write the answer that came later, and go on with what the client sent meanwhile."""
        self._on_lost = None
        if self.transport is None:
            return False
        self.transport.write(wire)
        self.go_on()
        return True

    def go_on_in_task(self, request: Request, joined: Joined | None, began: float) -> None:
        """Have aiohttp handle the request for which it was kept, with its part in a fetch."""
        self._on_lost = None
        self.enter(IDLE)
        self.give_late(request, joined, began)
        self.take_held()
