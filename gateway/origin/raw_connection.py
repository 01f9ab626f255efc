"""A connection to a server that takes a plain answer itself, and leaves aiohttp the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aiohttp.client_proto import ResponseHandler

from gateway.telemetry.logs import log

if TYPE_CHECKING:
    import asyncio

    from gateway.origin.plain_head import PlainHead, PlainHeads

GATHERED_BYTES = 1 << 20  # of a body that is taken whole; what is longer is relayed in parts
# How long the rest of a body may take that is gathered: a reader of a slow one is given its parts.
GATHERING_S = 0.02


class Question(Protocol):
    """What is out on a connection. One of these is called, once."""

    is_head: bool  # its method is HEAD
    heads: PlainHeads

    def taken(self, connection: RawConnection, head: PlainHead, body: bytes) -> None:
        """The answer is here, and the connection has nothing to do with it any more."""

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
        self._came: list[bytes] = []
        self._missing = 0
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
            self._look(question, data)
        except Exception:  # noqa: BLE001 - who has asked must not wait for ever
            self._lose(question)

    def _look(self, question: Question, data: bytes) -> None:
        if self._head is not None:
            self._gather(question, self._head, data)
        else:
            head = question.heads.read(data, is_head=question.is_head)
            missing = -1 if head is None else head.begins + head.size - len(data)
            if head is not None and not missing:
                self.question = None
                question.taken(self, head, data[head.begins :])
            elif head is None or missing < 0 or head.size > GATHERED_BYTES:
                self.leave(data)
            else:
                self._head, self._missing = head, missing
                self._came = [data]
                self._gathering = self._loop.call_later(GATHERING_S, self.leave)

    def _gather(self, question: Question, head: PlainHead, data: bytes) -> None:
        self._came.append(data)
        self._missing -= len(data)
        if self._missing < 0:
            self.leave()
        elif not self._missing:
            came = self._forget()
            question.taken(self, head, came[head.begins :])

    def leave(self, more: bytes = b"") -> bool:
        """Look at no more of the answer; whether a question was out. It is told what has come."""
        question = self.question
        if question is None:
            return False
        try:
            question.left(self, self._forget() + more)
        except Exception:  # noqa: BLE001 - as above
            self._lose(question)
        return True

    def _lose(self, question: Question) -> None:
        log.exception("origin.answer_lost")
        self._forget()
        self.close()
        question.lost()

    def _forget(self) -> bytes:
        came = b"".join(self._came)
        self.question = self._head = None
        self._came = []
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        return came

    def connection_lost(self, exc: BaseException | None) -> None:
        """What has come of an answer is for aiohttp, which tells how it is cut short."""
        self.leave()
        super().connection_lost(exc)
