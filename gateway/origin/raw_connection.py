"""A connection to a server that takes a plain answer itself, and leaves aiohttp the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aiohttp.client_proto import ResponseHandler

from gateway.origin.head_patterns import IN_CHUNKS
from gateway.origin.plain_bodies import GATHERED_BYTES, ByLength, InChunks
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    import asyncio

    from gateway.origin.head_patterns import PlainHead
    from gateway.origin.plain_head import PlainHeads

# How long the rest of a body may take that is gathered: a reader of a slow one is given its parts.
GATHERING_S = 0.02


class Question(Protocol):
    """What is out on a connection. One of these is called, once."""

    is_head: bool  # its method is HEAD
    heads: PlainHeads

    def taken(self, connection: RawConnection, head: PlainHead, begin: bytes, body: bytes) -> None:
        """The answer is here, and the connection has nothing to do with it any more.

        `begin` are the bytes of its head.
        """

    def left(self, connection: RawConnection, came: bytes) -> None:
        """It is no plain answer, whose beginning has come, or the connection is lost."""

    def lost(self) -> None:
        """Something failed here, maybe in one of the others."""


class RawConnection(ResponseHandler):
    """As aiohttp has it, unless a question is put: then it looks at what comes first."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.question: Question | None = None
        self._head: PlainHead | None = None  # of an answer whose body is being gathered
        self._body: ByLength | InChunks | None = None
        self._came: list[bytes] = []  # of it, all
        self._gathering: asyncio.TimerHandle | None = None

    def put(self, question: Question, wire: bytes) -> None:
        """Send a request, and have its question told what becomes of it."""
        assert self.transport is not None, "from the pool"
        self.question = question
        self.transport.write(wire)

    def data_received(self, data: bytes) -> None:
        """Take an answer that is plain and whole."""
        question = self.question
        if question is None:
            super().data_received(data)
            return
        try:
            if self._head is None:
                self._begin(question, data)
            else:
                self._gather(question, self._head, data)
        except Exception:  # noqa: BLE001 - who has asked must not wait for ever
            self._lose(question)

    def _begin(self, question: Question, data: bytes) -> None:
        head = question.heads.read(data, is_head=question.is_head)
        if head is None or head.size > GATHERED_BYTES:
            self.leave(data)
        elif head.begins + head.size == len(data) and head.size >= 0:  # as most are
            self.question = None
            question.taken(self, head, data[: head.begins], data[head.begins :])
        else:
            self._head = head
            self._body = InChunks() if head.size == IN_CHUNKS else ByLength(head.size)
            self._gather(question, head, data, head.begins)

    def _gather(self, question: Question, head: PlainHead, data: bytes, at: int = 0) -> None:
        body = self._body
        assert body is not None, "set with the head"
        self._came.append(data)
        if not body.take(data, at):
            self.leave()
        elif body.whole is not None:
            begin = self._came[0][: head.begins]
            self._forget()
            question.taken(self, head, begin, body.whole)
        elif self._gathering is None:
            self._gathering = self._loop.call_later(GATHERING_S, self.leave)

    def leave(self, more: bytes = b"") -> bool:
        """Look at no more of the answer; whether a question was out. It is told what has come."""
        question = self.question
        if question is None:
            return False
        came = b"".join([*self._came, more])
        try:
            self._forget()
            question.left(self, came)
        except Exception:  # noqa: BLE001 - as above
            self._lose(question)
        return True

    def _lose(self, question: Question) -> None:
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

    def connection_lost(self, exc: BaseException | None) -> None:
        """What has come of an answer is for aiohttp, which tells how it is cut short."""
        self.leave()
        super().connection_lost(exc)
