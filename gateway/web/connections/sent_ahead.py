"""Writes that a client sends ahead: begun together, in order, and answered in their order.

One after the other, each would be a commit, and a round, of its own. Only appends to one stream of
an own log are begun so, and creations there: each kind waits in one queue, where one is decided
after the other. Others could overtake each other, which requests of one connection must not (RFC
9112 section 9.3.2).
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
    from gateway.web.connections.http_connection import RequestHandlers

MOST = 32  # that are begun before others have their turn: 0.5 ms


class AheadConnection(Protocol):
    """A client's connection, as far as writes that were sent ahead need it."""

    state: State

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's, while it is there."""

    def went_on(self, *, should_close: bool) -> None:
        """A request was begun that no handler of the connection itself answers."""

    def take_ahead(self, answers: Answers) -> None:
        """Keep the connection for the answers."""

    handlers: RequestHandlers

    def step_of(
        self, request: Request, on_done: Callable[[Any, BaseException | None], object]
    ) -> Step[Any]:
        """Return the step that handles a request."""

    def finish(self, request: Request) -> None:
        """Count a request that is over, and give back what it has held."""

    def write(self, wire: bytes) -> None:
        """Write answers."""

    def reply(self, wire: bytes) -> bool:
        """Write the answers, and go on."""

    def force_close(self) -> None:
        """End, as soon as the client has what it was sent."""

    def data_received(self, data: bytes) -> None:
        """More of what the client has sent."""


def take(connection: AheadConnection, fast: FastPath, data: bytes) -> bool:
    """Return whether writes were begun, two or more; what is behind them waits for their answers.

    The connection is idle, and its client takes its answers.
    """
    found = fast.blocks.writes(data, MOST)
    if len(found) < 2:
        return False
    answers = Answers(connection)
    size = 0
    for one in found:
        if not (fast.keeps_order(one.request) and fast.admits_known(one.request)):
            break
        if not size:
            connection.take_ahead(answers)
        connection.went_on(should_close=False)
        size = one.end
        request = Request(one.request, one.body, AheadAnswer(answers))
        request.is_followed = True
        if not answers.begin(request):
            break
    if not size:
        return False
    connection.data_received(data[size:])  # which is held
    answers.are_all_begun()
    return True


class Answers:
    """The answers to the writes of one connection that were begun together."""

    def __init__(self, connection: AheadConnection) -> None:
        self.connection = connection
        self._are_all_begun = False
        self._all: list[AheadAnswer] = []
        self._steps: list[Step[Any]] = []
        self._missing = 0

    def begin(self, request: Request) -> bool:
        """Begin a write; return whether the next may be, which cannot overtake it."""
        answer = request.connection
        assert isinstance(answer, AheadAnswer), "made with it"
        self._all.append(answer)
        self._missing += 1
        step = self.connection.step_of(request, partial(self._over, request, answer))
        self._steps.append(step)
        step.run()
        return step.task is None

    def _over(
        self,
        request: Request,
        answer: AheadAnswer,
        outcome: Any,  # noqa: ANN401 - of the handlers
        error: BaseException | None,
    ) -> None:
        try:
            try:
                handlers = self.connection.handlers
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
                self.connection.finish(request)
            answer.is_last = reply is None or not reply.keep_alive
        except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - the others are answered
            log_failure(failure)
            answer.is_last = True
        self._missing -= 1
        if self._are_all_begun and not self._missing:
            self._give()

    def are_all_begun(self) -> None:
        """Write the answers from now on, once there are all."""
        self._are_all_begun = True
        if not self._missing:  # and so no commit is between these and those that are held
            asyncio.get_running_loop().call_soon(self._give)

    def _give(self) -> None:
        try:
            self._write()
        except BaseException:
            self.connection.force_close()  # nobody else answers
            raise
        finally:
            self._all.clear()  # they have this object
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
        """End the writes that are under way."""
        for step in self._steps:
            step.cancel()


class AheadAnswer:
    """Keeps the answer to one of the writes until its turn, in the place of the connection."""

    writing_paused = False  # it is written later

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.parts: list[bytes] = []
        self.is_last = False  # nothing is answered behind it

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's, while it is there."""
        return self._answers.connection.transport

    def ends_without_client(self, request: Request) -> None:
        """Let it go on, as all writes to own logs do."""

    def write(self, wire: bytes) -> None:
        """Keep what is written until it is its turn."""
        self.parts.append(wire)

    def writelines(self, parts: Sequence[bytes]) -> None:
        """Keep what is written until it is its turn."""
        self.parts += parts

    async def drained(self) -> None:
        """Wait for nothing: it is written later."""
