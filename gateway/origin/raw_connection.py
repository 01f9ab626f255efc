"""A connection to a server that parses plain answers itself, and leaves the others to aiohttp.

Whichever of the two reads an answer, the connection notes its kind, and reports whatever comes
besides the answers.
"""

from __future__ import annotations

from array import array
from fcntl import ioctl
from termios import FIONREAD
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from typing_extensions import override

from gateway.origin.head_patterns import IN_CHUNKS
from gateway.origin.in_step import REST_S, ConnectionHistory, end_of
from gateway.origin.plain_bodies import GATHERED_BYTES, ByLength, InChunks
from gateway.origin.plain_head import PlainHeads
from gateway.protocol import http1
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    import asyncio

    from aiohttp.http import RawResponseMessage
    from aiohttp.streams import StreamReader

    from gateway.origin.head_patterns import PlainHead
    from gateway.origin.in_step import AnswerKind, InStep, ServerBehaviour

# How long the rest of a body may take that is gathered: a reader of a slow one is given its parts.
GATHERING_S = 0.02
_HEAD_END = b"\r\n\r\n"
_STATUS = slice(len("HTTP/1.1 "), len("HTTP/1.1 200"))
_WITHOUT_BODY = frozenset({b"204", b"304"})
_unread = array("i", [0])


class ParsedAnswer(msgspec.Struct, eq=False):
    """An answer that aiohttp reads, as far as it has come."""

    first: bytes = b""  # the bytes that came first
    has_head: bool = False
    _end: bytes = b""  # the last three bytes of an incomplete head

    @property
    def is_bodyless(self) -> bool:
        """True for a status without a body, or of an interim answer."""
        status = self.first[_STATUS]
        return status in _WITHOUT_BODY or status.startswith(b"1")

    def end_of_head(self, data: bytes) -> int:
        """Return where the head ends in the next bytes; their length if it is not complete."""
        at = (self._end + data).find(_HEAD_END)
        ends = len(data) if at < 0 else at + len(_HEAD_END) - len(self._end)
        self._end = b"" if at >= 0 else (self._end + data)[1 - len(_HEAD_END) :]
        return ends

    def forget_interim(self) -> None:
        """Start again if the head that has ended was that of an interim answer."""
        if not (self._end or self.has_head):
            self.first = b""

    def is_surplus(self, *, is_read: bool, is_first: bool) -> bool:
        """Return whether bytes that aiohttp refused came after an answer, or instead of one.

        `is_read` says that the body is complete, `is_first` that no answer came before.
        """
        if self.has_head:
            return is_read
        if not self.first.startswith(b"HTTP/"):
            return not is_first
        head = PlainHeads().read(self.first, is_head=False)
        return head is not None and 0 <= head.body_start + head.size < len(self.first)


class RawQuestionLike(Protocol):
    """A question that is out on a connection, which calls one of these methods, once."""

    is_head: bool  # its method is HEAD
    heads: PlainHeads

    def on_response(
        self, connection: RawConnection, head: PlainHead, head_bytes: bytes, body: bytes
    ) -> None:
        """Take the whole response, which the connection has nothing to do with any more.

        `head_bytes` are the bytes of its head.
        """

    def on_detached(self, connection: RawConnection, received: bytes) -> None:
        """Take over a lost connection, or one whose response, begun by `received`, is not plain."""

    def lost(self) -> None:
        """Fail the request, because one of these callbacks raised: its response is lost."""


class RawConnection(ResponseHandler):
    """An aiohttp connection that looks first at what comes, if a plain request is out.

    While it `is_idle`, or at rest, no request is out.
    """

    server: ServerBehaviour | None = None  # before it is connected

    def __init__(self, loop: asyncio.AbstractEventLoop, in_step: InStep | None = None) -> None:
        super().__init__(loop)
        self.history = ConnectionHistory()
        self.is_idle = False
        self._descriptor = -1  # the socket's descriptor; -1 before it is connected
        self.question: RawQuestionLike | None = None
        self._in_step = in_step
        self._head: PlainHead | None = None  # of an answer whose body is being gathered
        self._body: ByLength | InChunks | None = None
        self._came: list[bytes] = []  # of it, all
        self._gathering: asyncio.TimerHandle | None = None
        self._sent_at = 0.0  # monotonic time
        self._parsed = ParsedAnswer()
        if in_step is not None:
            in_step.on_opened(self)

    def put(self, question: RawQuestionLike, wire: bytes) -> None:
        """Send a request, and tell `question` what becomes of it."""
        assert self.transport is not None, "from the pool"
        self.question = question
        self._sent_at = monotonic()
        self.transport.write(wire)

    @property
    def has_unread(self) -> bool:
        """True while bytes wait in the socket that the event loop has not read yet."""
        if self._descriptor < 0 or self.transport is None or self.transport.is_closing():
            return False
        ioctl(self._descriptor, FIONREAD, _unread)
        return _unread[0] > 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Asked for once: one kind of loop makes an object for it each time.
        self._descriptor = transport.get_extra_info("socket").fileno()

    def note_answer(self, kind: AnswerKind, is_misframed: bool) -> None:
        """Note what the head of an answer says of its end."""
        if monotonic() - self._sent_at >= REST_S:
            # Nothing has come for so long before it: it is no surplus, and the earlier were none.
            self.history = ConnectionHistory()
        self.history.add(kind)
        if is_misframed:
            self.force_close()

    @override
    def data_received(self, data: bytes) -> None:
        """Take an answer that is plain and whole."""
        question = self.question
        if question is None:
            if not self.is_idle:
                # Who called this is told of what raises: the event loop logs it, and ends the
                # connection with it, so that no half of an answer passes for the whole.
                self._leave_to_parser(data)
            elif data:  # aiohttp has its parser go on by giving it nothing
                self._spill(data)
                self.close()
            return
        try:
            if self._head is None:
                self._begin(question, data)
            else:
                self._gather(question, self._head, data)
        except Exception:  # noqa: BLE001 - who has asked must not wait for ever
            self._lose(question)

    def _spill(self, data: bytes) -> None:
        """Report bytes that came besides the answers."""
        self.force_close()
        if self._in_step is not None and self.server is not None:
            self._in_step.on_surplus(self, self.server, data)

    def _spill_behind(self, data: bytes) -> None:
        """Report bytes that came behind an answer under way; the answer itself is trusted."""
        self._spill(data)
        self.history = ConnectionHistory()

    def _begin(self, question: RawQuestionLike, data: bytes) -> None:
        head = question.heads.read(data, is_head=question.is_head)
        if head is None or head.size > GATHERED_BYTES:
            self.detach(data)
        elif head.body_start + head.size == len(data) and head.size >= 0:  # as most are
            self.question = None
            self.note_answer(head.kind.answer_kind, head.kind.is_misframed)
            question.on_response(self, head, data[: head.body_start], data[head.body_start :])
        elif not head.size and (question.is_head or not http1.has_body(head.kind.status)):
            self.question = None
            self.note_answer(head.kind.answer_kind, head.kind.is_misframed)
            self._spill_behind(data[head.body_start :])
            question.on_response(self, head, data[: head.body_start], b"")
        else:
            self._head = head
            self._body = InChunks() if head.size == IN_CHUNKS else ByLength(head.size)
            self._gather(question, head, data, head.body_start)

    def _gather(self, question: RawQuestionLike, head: PlainHead, data: bytes, at: int = 0) -> None:
        body = self._body
        assert body is not None, "set with the head"
        self._came.append(data)
        if not body.feed(data, at):
            self.detach()
        elif body.whole is not None:
            head_bytes = self._came[0][: head.body_start]
            self._forget()
            self.note_answer(head.kind.answer_kind, head.kind.is_misframed)
            question.on_response(self, head, head_bytes, body.whole)
        elif self._gathering is None:
            self._gathering = self._loop.call_later(GATHERING_S, self.detach)

    def detach(self, more: bytes = b"") -> bool:
        """Stop parsing, and pass the received bytes to the question; return False without one."""
        question = self.question
        if question is None:
            return False
        received = b"".join([*self._came, more])
        try:
            self._forget()
            question.on_detached(self, received)
        except Exception:  # noqa: BLE001 - as above
            self._lose(question)
        return True

    def _lose(self, question: RawQuestionLike) -> None:
        log.exception("origin.answer_lost")
        self._forget()
        self.close()
        question.lost()

    def _forget(self) -> None:
        self.question = self._head = self._body = None
        self._came = []
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        """Leave an incomplete response to aiohttp, which reports how it was cut.

        An exception of our own, which the event loop has logged, is reported as a lost connection.
        """
        if self.history.is_doubted and not self.is_idle:
            self.history.spoil()  # it cannot rest any more
        if exc is not None and not isinstance(exc, OSError):
            exc = ConnectionAbortedError(str(exc))
        try:
            self.detach()
        finally:
            super().connection_lost(exc)

    # What aiohttp reads

    @override
    def set_response_params(self, **settings: Any) -> None:
        self._parsed = ParsedAnswer()
        self._sent_at = monotonic()
        super().set_response_params(**settings)

    @override
    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        message, _ = data
        if message.code < 200 and message.code != 101:
            pass
        elif self._parsed.has_head:
            self._spill(b"")
        else:
            self._parsed.has_head = True
            length = message.headers.get(hdrs.CONTENT_LENGTH)
            is_coded = hdrs.TRANSFER_ENCODING in message.headers
            is_head = self._skip_payload
            self.note_answer(*end_of(message.code, length, is_head=is_head, is_coded=is_coded))
        super().feed_data(data, size)

    @override
    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        if isinstance(exc, HttpProcessingError):
            is_read = self._payload is None or self._payload.is_eof()
            if self._parsed.is_surplus(is_read=is_read, is_first=self.history.last is None):
                self._spill(self._parsed.first)
        super().set_exception(exc, *cause)

    def _leave_to_parser(self, data: bytes) -> None:
        """Have aiohttp read what comes, except a body where there must be none.

        aiohttp would refuse the answer even before that body.
        """
        if not data:
            super().data_received(data)
        parsed = self._parsed
        while data:
            parsed.first = parsed.first or data
            if self._parser is None or not (self._skip_payload or parsed.is_bodyless):
                super().data_received(data)
                return
            if parsed.has_head:
                self._spill_behind(data)
                return
            ends = parsed.end_of_head(data)
            super().data_received(data[:ends])
            data = data[ends:] if self._exception is None else b""
            parsed.forget_interim()
