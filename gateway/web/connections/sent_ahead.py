"""Pipelined creations of hosted streams: started together, in order, and answered in that order.

Handled one by one, each would take a commit and a round trip of its own. A queue decides on them in
order. Other writes could overtake each other, which requests of one connection must not (RFC 9112
section 9.3.2); appends to one stream are started together by their plans (`web.asks`).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from gateway.web.connections.http_connection import log_failure
from gateway.web.requests.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.stepped import Step
    from gateway.web.connections.connection_state import State
    from gateway.web.connections.fast_path import FastPath
    from gateway.web.connections.http_connection import Owner
    from gateway.web.requests.blocks import KnownRequest

MOST = 32  # creations started before other connections have their turn: 0.5 ms


class AnsweredConnection(Protocol):
    """A client's connection whose answers are collected."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's transport, or None once the client is gone."""


class AheadConnection(AnsweredConnection, Protocol):
    """A client's connection, as pipelined creations use it."""

    state: State

    def note_answered(self, *, should_close: bool) -> None:
        """Note a request that is answered without a handler of this connection."""

    def defer_pipelined(self, answers: Answers) -> None:
        """Reserve the connection for the responses."""

    @property
    def owner(self) -> Owner:
        """The server that accepted the connection."""

    def step_of(
        self, request: Request, on_done: Callable[[Any, BaseException | None], object]
    ) -> Step[Any]:
        """Return the Step that handles a request."""

    def write(self, wire: bytes) -> None:
        """Write responses."""

    def reply(self, wire: bytes) -> bool:
        """Write the responses, and go on with what was received meanwhile."""

    def force_close(self) -> None:
        """End the connection as soon as the client has received what it was sent."""

    def data_received(self, data: bytes) -> None:
        """Take received bytes."""


def start_creations(connection: AheadConnection, fast: FastPath, data: bytes) -> bool:
    """Start the creations that `data` begins with, if there are two or more; return whether.

    The bytes after them wait until they are answered. The connection must be idle, and its client
    must be receiving.
    """
    found = _creations(fast, data)
    if len(found) < 2:
        return False
    answers = Answers(connection)
    size = 0
    for one in found:
        if not (fast.keeps_order(one) and fast.admits_known(one)):
            break
        if not size:
            connection.defer_pipelined(answers)
        connection.note_answered(should_close=False)
        size = one.end
        request = Request(one, one.body, AheadAnswer(connection))
        request.is_followed = True
        if not answers.start(request):
            break
    if not size:
        return False
    connection.data_received(data[size:])  # held until the creations are answered
    answers.finish_starting()
    return True


def _creations(fast: FastPath, data: bytes) -> list[KnownRequest]:
    """Return the known creations that `data` begins with, up to one that is incomplete."""
    found: list[KnownRequest] = []
    at = 0
    while len(found) < MOST:
        one = fast.blocks.at(data, at)
        if one is None or one.method != "PUT":
            break
        found.append(one)
        at = one.end
    return found


class Answers:
    """The responses to pipelined creations of one connection that were started together."""

    def __init__(self, connection: AheadConnection) -> None:
        self.connection = connection
        self._are_all_started = False
        self._all: list[AheadAnswer] = []
        self._steps: list[Step[Any]] = []
        self._missing = 0

    def start(self, request: Request) -> bool:
        """Start a write; return whether the next one may start without overtaking it."""
        answer = request.connection
        assert isinstance(answer, AheadAnswer), "made with it"
        self._all.append(answer)
        self._missing += 1
        step = self.connection.step_of(request, partial(self._on_done, request, answer))
        self._steps.append(step)
        step.run()
        return step.task is None

    def _on_done(
        self,
        request: Request,
        answer: AheadAnswer,
        outcome: Any,  # noqa: ANN401 - of the handlers
        error: BaseException | None,
    ) -> None:
        try:
            try:
                handlers = self.connection.owner.handlers
                reply = (
                    handlers.answer(request, outcome)
                    if error is None
                    else handlers.refuse(request, error)
                )
                if reply is not None:
                    reply.write(answer)
                elif error is not None:
                    log_failure(error)
            finally:
                shared = self.connection.owner.shared
                request.finish(shared.log, stopping=shared.closing)
            answer.is_last = reply is None or not reply.keep_alive
        except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - other writes are answered
            log_failure(failure)
            answer.is_last = True
        self._missing -= 1
        if self._are_all_started and not self._missing:
            self._respond()

    def finish_starting(self) -> None:
        """Write the responses once all are there."""
        self._are_all_started = True
        if not self._missing:  # none waited for a commit; held requests come next
            asyncio.get_running_loop().call_soon(self._respond)

    def _respond(self) -> None:
        try:
            self._write()
        except BaseException:
            self.connection.force_close()  # otherwise the client would wait
            raise
        finally:
            self._all.clear()  # they refer to this object
            self._steps.clear()

    def _write(self) -> None:
        wires = []
        for answer in self._all:
            wires += answer.parts
            if answer.is_last:
                self.connection.write(b"".join(wires))
                self.connection.force_close()
                return
        self.connection.reply(b"".join(wires))

    def cancel(self) -> None:
        """Cancel the writes that are under way."""
        for step in self._steps:
            step.cancel()


class AheadAnswer:
    """The response to one of several requests, collected until its turn.

    It stands in for a connection.
    """

    writing_paused = False  # the response is written later

    def __init__(self, connection: AnsweredConnection) -> None:
        self._connection = connection
        self.parts: list[bytes] = []
        self.is_last = False  # True if the connection ends with this response

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's transport, or None once the client is gone."""
        return self._connection.transport

    def cancel_without_client(self, request: Request) -> None:
        """Let the write go on, as all writes to hosted streams do."""

    def cancel_request(self, request: Request) -> None:
        """Let the write go on: it is short."""

    def end_with_fin(self) -> None:
        """Do nothing: a write waits for nothing but its commit."""

    def write(self, wire: bytes) -> None:
        """Collect a part of the response."""
        self.parts.append(wire)

    def writelines(self, parts: Sequence[bytes]) -> None:
        """Collect parts of the response."""
        self.parts += parts

    async def drained(self) -> None:
        """Return at once: the response is written later."""
