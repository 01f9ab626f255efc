"""A connection to a server of an origin, over aiohttp's parser of responses.

An answer that comes whole within GATHERING_S is passed on whole; of any other, the body is passed
on while it comes. The connection notes how each answer ends, and reports whatever comes besides the
answers to its `server_connections` (`reuse`).
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from aiohttp import hdrs
from aiohttp.http_exceptions import HttpProcessingError
from typing_extensions import override

from headgate_gateway.errors import OriginBroken
from headgate_gateway.origin.answer import CUT_SHORT, Loss, OriginAnswer, UnreadBody
from headgate_gateway.origin.heads import WHOLE, HeadKind, end_of, fault, is_last, stable_of
from headgate_gateway.origin.reader import GATHERED_BYTES, HEAD_END, ResponseReader
from headgate_gateway.origin.reuse import SILENCE_S, ConnectionHistory, SocketProtocol
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    import asyncio

    from aiohttp import StreamReader

    from headgate_gateway.origin.answer import Attempt
    from headgate_gateway.origin.heads import AnswerKind
    from headgate_gateway.origin.reader import ParsedHead
    from headgate_gateway.origin.reuse import ServerConnections

# How long the rest of a body may take that is gathered: a reader of a slow one is given its parts.
GATHERING_S = 0.02


class OriginConnection(SocketProtocol):
    """A connection, on which there is one request at a time."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        server_connections: ServerConnections[OriginConnection],
        *,
        is_pooled: bool,
    ) -> None:
        super().__init__(loop, server_connections)
        self.was_used = False  # for a request before the one that it is taken for
        self.attempt: Attempt | None = None  # until its answer was passed on
        self.is_sending = False  # a part of the request's body is still to be sent
        self._must_close = not is_pooled
        self._sent_at = 0.0  # monotonic time
        self._reader = ResponseReader(loop, self)
        self._answer: OriginAnswer | None = None  # until its body was read
        self._is_last = False  # so the server has said with the answer
        self._content: StreamReader | None = None  # its body
        self._gathering: asyncio.TimerHandle | None = None

    # The request

    def send(self, attempt: Attempt, wire: bytes) -> None:
        """Send a request, or its beginning, and notify `attempt` of what comes of it."""
        assert self.transport is not None, "from the pool"
        self.attempt = attempt
        self._sent_at = monotonic()
        self.transport.write(wire)

    def abandon(self) -> None:
        """Close the connection without notifying the request on it."""
        self._forget()
        self.close()

    # What comes

    @override
    def data_received(self, data: bytes) -> None:
        attempt = self.attempt
        try:
            if self._answer is not None:
                self._read_body(data)
            elif attempt is not None:
                self._read_head(attempt, data)
            elif self.transport is not None:  # nothing was asked
                self._spill(data)
                self.close()
        except Exception:  # noqa: BLE001 - who waits must not wait for ever
            self._lose(attempt)

    def note_answer(self, kind: AnswerKind, *, is_misframed: bool) -> None:
        """Note what the head of an answer says of its end."""
        if monotonic() - self._sent_at >= SILENCE_S:
            # Nothing has come for so long before it: it is no surplus, and the earlier were none.
            self.history = ConnectionHistory()
        self.history.last = kind
        if kind is not WHOLE:
            self.history.has_bodyless = True
        if is_misframed:
            self._must_close = True

    def _read_head(self, attempt: Attempt, data: bytes) -> None:
        if not (self._reader.came or attempt.is_head):
            known = attempt.patterns.read(data)
            if known is not None:  # as most are
                kind, volatile, start = known
                self.note_answer(kind.answer_kind, is_misframed=kind.is_misframed)
                status, stable, history = kind.status, kind.stable, self.history
                head, body = data[:start], data[start:]
                answer = OriginAnswer(status, body, head, stable, volatile, history)
                self.attempt = None
                self._free(is_last=kind.is_last)
                attempt.on_answer(answer)
                return
        try:
            head_read = self._reader.feed_head(data)
        except HttpProcessingError:
            came = self._reader.came
            if self.history.last is not None and not came.startswith(b"HTTP/"):
                self._spill(came)
            self._refuse(attempt, Loss.GARBLED)
            return
        if head_read is not None:
            why = fault(head_read.message)
            if why is None:
                self._begin(attempt, head_read)
            else:
                self._refuse(attempt, Loss.REFUSED, why)

    def _refuse(self, attempt: Attempt, loss: Loss, why: str = "") -> None:
        """Close the connection: what came is not an answer."""
        self._forget()
        self.close()
        attempt.on_lost(loss, OriginBroken(f"{loss.value}: {why}" if why else loss.value))

    def _begin(self, attempt: Attempt, head: ParsedHead) -> None:
        """Take the head of an answer, and as much of its body as has come."""
        message, rest, is_head = head.message, head.rest, attempt.is_head
        status, length = message.code, message.headers.get(hdrs.CONTENT_LENGTH)
        is_coded = hdrs.TRANSFER_ENCODING in message.headers
        kind, is_misframed = end_of(status, length, is_head=is_head, is_coded=is_coded)
        self.note_answer(kind, is_misframed=is_misframed)
        stable, volatile = stable_of(message)
        self._is_last = is_last(message, is_head=is_head)
        if not is_head and head.data.endswith(HEAD_END):
            known = HeadKind(status, stable, self._is_last, kind, is_misframed)
            attempt.patterns.note(known, head.data)
        answer = OriginAnswer(status, None, message.raw_headers, stable, volatile, self.history)
        if head.has_more:
            self._spill(b"")
        if kind is not WHOLE:
            self._reader.forget()
            if rest:  # the answer itself is trusted
                self._spill(rest)
                self.history = ConnectionHistory()
            answer.body, answer.history = b"", self.history
            self._finish(attempt, answer)
            return
        answer.is_chunked = message.chunked
        answer.complete_by_length = is_coded or length is not None
        self._answer, self._content = answer, head.content
        if rest:
            self._read_body(rest)
        else:
            self._go_on(head.content, answer)

    def _read_body(self, data: bytes) -> None:
        answer, content = self._answer, self._content
        assert answer is not None, "its head has come"
        assert content is not None, "as above"
        try:
            has_more = self._reader.feed_body(data)
        except HttpProcessingError:
            self._break_off(content, data)
            return
        if has_more:
            self._spill(b"")
        self._go_on(content, answer)

    def _go_on(self, content: StreamReader, answer: OriginAnswer) -> None:
        """Pass on the answer if it is whole, or is not to be gathered."""
        attempt = self.attempt
        if content.is_eof() and attempt is not None:
            body = answer.body = content.read_nowait(-1)
            if answer.is_chunked:
                answer.volatile = {**answer.volatile, "content-length": str(len(body))}
            self._finish(attempt, answer)
        elif content.is_eof():
            self._answer = self._content = None
            self._free(is_last=self._is_last)
        elif attempt is not None:
            length = int(answer.volatile.get("content-length", 0))
            is_long = self._reading_paused or length > GATHERED_BYTES
            if is_long or not answer.complete_by_length:
                self._hand_over()
            elif self._gathering is None:
                self._gathering = self._loop.call_later(GATHERING_S, self._hand_over)

    def _finish(self, attempt: Attempt, answer: OriginAnswer) -> None:
        """Pass on a whole answer; the connection has nothing to do with it any more."""
        self._forget()
        self._free(is_last=self._is_last)
        attempt.on_answer(answer)

    def _free(self, *, is_last: bool) -> None:
        transport = self.transport
        if (
            is_last
            or self._must_close
            or self.is_sending
            or transport is None
            or transport.get_write_buffer_size()
        ):
            self.close()
        else:
            self.was_used = True
            self.server_connections.give_back(self)

    def _hand_over(self) -> None:
        """Pass on an answer whose body is still to come."""
        attempt, answer, content = self.attempt, self._answer, self._content
        assert attempt is not None, "it waits"
        assert answer is not None, "its head has come"
        assert content is not None, "as above"
        self._stop_gathering()
        self.attempt = None
        try:
            timeout_s = self.server_connections.settings.read_timeout
            answer.unread = UnreadBody(content, self.close, attempt.on_released, timeout_s)
            attempt.on_answer(answer)
        except Exception:  # noqa: BLE001 - as of data_received
            self._lose(attempt)

    def _break_off(self, content: StreamReader, data: bytes) -> None:
        """End with bytes that are not the rest of a body."""
        attempt = self.attempt
        if content.is_eof():
            self._spill(data)
            if attempt is not None:
                self._refuse(attempt, Loss.GARBLED)
            else:
                self._forget()
                self.close()
            return
        self._cut(content)
        self.close()

    def _cut(self, content: StreamReader) -> None:
        """Break off a body; its reader gets the error."""
        content.set_exception(OriginBroken(CUT_SHORT))
        if self.attempt is not None:
            self._hand_over()
        self._answer = self._content = None

    def _spill(self, data: bytes) -> None:
        """Report bytes that came besides the answers."""
        self._must_close = True
        self.server_connections.on_surplus(self, data)

    def _lose(self, attempt: Attempt | None) -> None:
        log.exception("origin.answer_lost")
        content = self._content
        self._forget()
        self.close()
        if content is not None and not content.is_eof():
            content.set_exception(OriginBroken(CUT_SHORT))
        if attempt is not None:
            attempt.on_lost(Loss.UNKNOWN, OriginBroken(Loss.UNKNOWN.value))

    def _forget(self) -> None:
        self.attempt = self._answer = self._content = None
        self._stop_gathering()

    def _stop_gathering(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        """End what is under way: only a body without a length may be complete now."""
        super().connection_lost(exc)
        if self.history.is_doubted and not self.is_idle:
            self.history.spoil()  # it cannot rest any more
        self.resume_writing()
        self.server_connections.open.discard(self)
        attempt, content = self.attempt, self._content
        try:
            if content is not None:
                if exc is not None or not self._reader.is_at_end() or not content.is_eof():
                    self._cut(content)
            elif attempt is not None:
                self._forget()
                attempt.on_lost(Loss.CUT, OriginBroken(Loss.CUT.value))
        except Exception:  # noqa: BLE001 - as of data_received
            self._lose(attempt)
