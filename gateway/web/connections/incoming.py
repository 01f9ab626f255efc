"""Split the received bytes of a connection into requests, and bound what is held of them.

aiohttp's parser does not give back what it was fed. So it is fed one request at a time; the bytes
after it wait here, where the next request may be looked up instead of parsed, by its whole head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError
from aiohttp.web import RequestPayloadError
from typing_extensions import override

from gateway.errors import BadRequest, HeadTooLarge
from gateway.later import turn
from gateway.telemetry.logs import log
from gateway.web.connections.connection_state import DEAF, IDLE, LINGERING, TAKEN
from gateway.web.connections.http_connection import HttpConnection
from gateway.web.requests.request import Request
from gateway.web.requests.request_head import (
    METHOD_BYTES,
    begins_head,
    end_of_head,
    is_plain_line,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader

    from gateway.web.connections.wire import Owner

HEAD_BYTES = 32 * 1024  # of an incomplete head; with the parser's copies thrice as much
HELD_BYTES = 64 * 1024  # what a client may send while its request is being answered
# Bytes of a chunked body that are no data, beside 32 for each byte of data. Chunk extensions mean
# nothing here, and an endless one would be read for as long as the body may take (RFC 9112 section
# 7.1.1).
FRAMING_BYTES = 16 * 1024
AT_ONCE = 32  # requests that came together, before other connections have their turn: 3 ms
# A FIN within this time after the beginning of a request was sent with it: its packet may be late.
# If a client disconnects that soon, its read at the origin goes on without a client.
FIN_S = 0.1


class IncomingConnection(HttpConnection):
    """A connection that parses what it receives into requests.

    A request that `answer_known` and `answer_at_once` leave unanswered goes to a handler.
    """

    __slots__ = ("_body", "_fed", "_has_behind", "_held", "_missing", "_part")

    def __init__(self, owner: Owner, early: bytes = b"", late: bytes = b"") -> None:
        super().__init__(owner, early, late)
        self._held = bytearray()  # received, and not parsed yet
        self._part = bytearray()  # the beginning of an incomplete head
        self._has_behind = False  # more was received together with the current request
        self._body: StreamReader | None = None  # a body that is not complete
        self._missing: int | None = None  # bytes missing of the body; None if it is chunked
        self._fed = 0  # bytes of the chunked body that the parser was fed

    def answer_known(self, _data: bytes, /) -> bool:
        """Answer requests that are known by their bytes; return whether that was done."""
        return False

    def answer_at_once(
        self, _head: bytes | None, _message: RawRequestMessage, _payload: StreamReader, /
    ) -> bool:
        """Answer a request at once if possible, and return whether; `_head` if it came whole."""
        return False

    @property
    def has_more(self) -> bool:
        """True when the client may have sent more than the request that is under way."""
        if self.state is DEAF:  # unknown: what comes is dropped
            return True
        is_within = self._body is not None or bool(self._part)  # of a request that is fed in parts
        return is_within or bool(self._held) or self._has_behind

    @override
    def data_received(self, data: bytes) -> None:
        """Parse the data, and answer what can be answered at once.

        The writes of other workers are taken in first, so that a client whose write was confirmed
        by another worker reads that write here.
        """
        if self.services.journal is not None:
            self.services.journal.catch_up()
        state = self.state
        if self._ends or state is DEAF:
            self._may_drop -= len(data)
            if self._may_drop < 0 and state is LINGERING:
                self.force_close()
        elif self._body is not None:
            self._parse(data)
        elif state is TAKEN:
            self._hold(data)
        elif self._held or self._part or not self.answer_known(data):
            self._parse(data)

    @override
    def eof_received(self) -> bool:
        """Return whether the connection stays open for responses after a FIN of the client.

        A FIN that comes with a request is the end of what the client sends. Later, or while the
        request waits for news, it is taken for that of a client that is gone, which looks alike.
        """
        try:
            self.has_fin = self._stays_open()
        except Exception:  # noqa: BLE001 - it is logged, and the client retries
            log.exception("connection.failed")
        return self.has_fin

    def _stays_open(self) -> bool:
        request, transport = self.request, self.transport
        if self.state not in {TAKEN, DEAF} or transport is None:
            return False
        if transport.get_extra_info("sslcontext") is not None:  # TLS has no half of a connection
            return False
        if request is not None:
            is_late = self._loop.time() - self.began > FIN_S
            return not (is_late or self.ends_with_fin or request.has_more_body)
        return True

    def end_with_fin(self) -> None:
        """End the request at a FIN of its client. Raises ConnectionResetError after one."""
        self.ends_with_fin = True
        if self.has_fin:
            raise ConnectionResetError("the client is gone")

    def _hold(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > HELD_BYTES and self.transport is not None:
            self.transport.pause_reading()

    def _parse(self, data: bytes) -> None:
        """Parse requests one by one, up to one that is incomplete or whose response has to wait.

        The parser is fed one at a time, because it does not give bytes back.
        """
        if self._held and self._body is None:
            data = bytes(self._held) + data
            self._held.clear()
        at = requests = 0
        was_parsing, self._is_parsing = self._is_parsing, True
        try:
            while self._body is not None or self._may_begin(requests, has_more=at < len(data)):
                if self._body is not None:
                    at = self._go_on_with_body(self._body, data, at)
                else:
                    at = self._go_on_with_head(data, at)
                    requests += 1
                if self._body is not None:
                    break
        except HttpProcessingError as error:
            self._refuse_malformed(error, self._part + data[at : at + METHOD_BYTES])
        finally:
            self._is_parsing = was_parsing
            self._has_behind = False
        if at < len(data) and not (self._ends or self.state is DEAF):
            self._hold(data[at:])

    def _may_begin(self, requests: int, *, has_more: bool) -> bool:
        """Return whether to parse the next request now, after `requests` that came with it."""
        if self._ends or self.state is not IDLE:
            return False
        if has_more and requests == AT_ONCE:
            self.enter(TAKEN)
            turn.add_behind(self)
            return False
        return has_more

    def _feed(self, data: bytes) -> Sequence[tuple[RawRequestMessage, StreamReader]]:
        assert self._parser is not None, "the connection is there"
        messages, _, _ = self._parser.feed_data(data)
        if messages:
            self._parser.message_consumed()
        return messages

    def _go_on_with_head(self, data: bytes, start: int) -> int:
        """Parse up to the end of a head and what there is of its body, and have it answered."""
        at = end_of_head(self._part, data, start)
        piece = data[start:at]
        messages = self._feed(piece)
        if not messages:
            self._wait_for_head(piece)
            return at
        message, payload = messages[0]
        came_in_parts = bool(self._part)
        self._deadline = None
        if not is_plain_line(self._part + piece if came_in_parts else piece):
            error = BadRequest("the request line has more than one blank between its parts")
            self.refuse(error, to_head=message.method == "HEAD")
            return at
        if not payload.is_eof():
            is_measured = "Content-Length" in message.headers
            self._missing = int(message.headers["Content-Length"]) if is_measured else None
            self._fed = 0
            at = self._go_on_with_body(payload, data, at)
        self._part.clear()
        is_one_piece = not came_in_parts and self._body is None and not message.chunked
        head = data[start:at] if is_one_piece else None
        if not self.answer_at_once(head, message, payload):
            self._has_behind = at < len(data)
            self.enter(TAKEN)
            if self._body is None and message.chunked:
                self.enter(DEAF)
            self.start_request(Request(message, payload, self))
        return at

    def _go_on_with_body(self, body: StreamReader, data: bytes, start: int) -> int:
        """Parse what there is of a body. Raises HttpProcessingError for malformed chunks.

        After a chunked body nothing is parsed: the parser would take the last trailer for a line
        of the next head.
        """
        end = len(data) if self._missing is None else min(len(data), start + self._missing)
        self._feed(data[start:end])
        if self._missing is not None:
            self._missing -= end - start
        else:
            self._fed += end - start
            size = body.total_bytes
            # While reading is paused, the parser holds data that `size` does not count yet.
            is_too_much = self._fed > FRAMING_BYTES + 33 * size
            if is_too_much and not (self._reading_paused or body.is_eof()):
                raise BadHttpMessage("there is more between the chunks than in them")
        was_given = self._body is not None
        self._body = None if body.is_eof() else body
        if was_given and self._missing is None and self._body is None and self.state is not DEAF:
            self.enter(DEAF)
        return end

    def _wait_for_head(self, piece: bytes) -> None:
        """Hold an incomplete head, within HEAD_BYTES and the header timeout."""
        self._part += piece
        if len(self._part) > HEAD_BYTES:
            error = HeadTooLarge(f"the head of a request may be {HEAD_BYTES:,} bytes long")
            self.refuse(error, to_head=begins_head(self._part))
        elif self._deadline is None:
            self._deadline = self._loop.time() + self.services.timeouts.header

    def _refuse_malformed(self, error: HttpProcessingError, beginning: bytearray) -> None:
        """Refuse malformed HTTP: where the next request would begin is unknown."""
        if self.state is IDLE:
            self.refuse(refusal(error), to_head=begins_head(beginning))
            return
        self.enter(DEAF)
        body = self._body
        if body is not None and not body.is_eof():
            spoilt = RequestPayloadError(error.message)
            body.set_exception(spoilt)
            # A reader that was just woken for the chunk before would not see the exception.
            self._loop.call_soon(body.set_exception, spoilt)

    @override
    def forget(self) -> None:
        """Drop what was received and not parsed."""
        self._held.clear()
        self._part.clear()
        super().forget()
        self._body = None  # it refers to this object

    def rest(self) -> None:
        """Become idle, and start the keepalive_s for which the connection stays open then."""
        assert self.state in {IDLE, TAKEN}, self.state.name
        self.state = IDLE
        self._idle_until = self._loop.time() + self.owner.keepalive_s

    @override
    def go_on(self) -> None:
        """Go on with what the client has sent since the last request."""
        transport = self.transport
        if transport is None:
            return
        if self._has_behind:
            # A handler takes as long as many answers from memory. So other connections have their
            # turn before the rest of what was received with this request.
            turn.add_behind(self)
            return
        self.state = IDLE  # as `rest` does: a call for each request would cost more
        self._idle_until = self._loop.time() + self.owner.keepalive_s
        if self._held and not self._is_parsing:
            held = bytes(self._held)
            self._held.clear()
            transport.resume_reading()
            try:
                self.data_received(held)
            except Exception:  # noqa: BLE001 - it is logged: no error of the caller
                log.exception("connection.failed")
                transport.abort()
        if (self.owner.is_closing or self.has_fin) and self.is_idle:
            transport.close()
            self.owner.connections.notice_idle()
