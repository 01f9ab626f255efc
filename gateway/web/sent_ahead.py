"""Writes that a client sends ahead: taken together, in order, and answered in their order.

One after the other, each would be a commit, and a round, of its own. Only appends to one stream of
an own log are taken so, and creations there: each kind waits in one queue, where one is decided
after the other. Others could overtake each other, which requests of one connection must not (RFC
9112 section 9.3.2).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from gateway.live.contract import Parkable
from gateway.web.connection_state import IDLE

if TYPE_CHECKING:
    from gateway.web.connection_state import State
    from gateway.web.fast_path import FastPath

MOST = 32  # that are taken before others have their turn: 0.5 ms


class Connection(Parkable, Protocol):
    """A client's connection, as far as writes that were sent ahead need it."""

    state: State
    transport: asyncio.Transport | None

    def went_on(self, *, should_close: bool) -> None:
        """A request was answered without aiohttp, or will be."""

    def go_on(self) -> None:
        """Go on with what the client has sent meanwhile."""

    def data_received(self, data: bytes) -> None:
        """More of what the client has sent."""


def take(connection: Connection, fast: FastPath, data: bytes) -> bool:
    """Whether writes were taken, two or more; what is behind them waits until they are answered.

    The connection is idle, and its client takes its answers.
    """
    found = fast.blocks.writes(data, MOST)
    if len(found) < 2:
        return False
    answers = _Answers(connection)
    size = 0
    for one in found:
        if not fast.writes.take_ahead(_Answer(answers), one.request, one.body):
            break
        connection.went_on(should_close=False)
        size = one.end
    if not size:
        return False
    answers.are_all_known = True
    answers.give()
    if connection.state is IDLE:  # all were refused at once
        connection.take()
        asyncio.get_running_loop().call_soon(connection.go_on)
    connection.data_received(data[size:])  # which is held
    return True


class _Answers:
    """Those to the writes of one connection that were taken together."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.wires: list[bytes] = []  # in the order of the requests; empty while one is missing
        self.missing = 0
        self.are_all_known = False

    def give(self) -> None:
        """Write them, once there are all."""
        if self.missing or not self.are_all_known:
            return
        wire = b"".join(self.wires)
        if self.connection.state is IDLE:
            self.connection.write(wire)
        else:
            self.connection.reply(wire)


class _Answer:
    """The connection, as one of the writes has it."""

    def __init__(self, answers: _Answers) -> None:
        self._answers = answers
        self._place = len(answers.wires)

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's, while it is there."""
        return self._answers.connection.transport

    def write(self, wire: bytes) -> None:
        """Refused at once."""
        self._answers.wires.append(wire)

    def take(self) -> None:
        """Keep the connection for the answer."""
        answers = self._answers
        if answers.connection.state is IDLE:
            answers.connection.take()
        answers.wires.append(b"")
        answers.missing += 1

    def reply(self, wire: bytes) -> bool:
        """The answer; whether the client is there still."""
        answers = self._answers
        answers.wires[self._place] = wire
        answers.missing -= 1
        is_there = answers.connection.transport is not None
        answers.give()
        return is_there

    def abandon(self) -> None:
        """There is no answer, nor can those behind it be given."""
        self._answers.connection.abandon()
