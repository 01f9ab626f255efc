"""What the supervisor and a worker say to each other, over a socket that only the two have.

It ends with either of them: so each knows when the other is gone, whatever ended it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from admin.source import Health
from gateway.telemetry.inspection import Answer, Question
from gateway.telemetry.logs import log
from gateway.telemetry.metrics import Snapshot

if TYPE_CHECKING:
    import socket
    from typing import Self

LONGEST_MESSAGE = 64 << 20  # bytes; settings with many routes are the longest


class Begin(msgspec.Struct, tag=True, frozen=True):
    """A message that begins a worker, with its settings as JSON.

    The settings may hold passwords, so they are no argument of the process. `console` is the hash
    of the console's token, and `journal` the descriptor of the memory in which the workers announce
    writes to each other.
    """

    settings: str
    console: bytes
    journal: int


class ReportStatus(msgspec.Struct, tag=True, frozen=True):
    """To a worker: tell how you are."""


class WorkerQuestion(msgspec.Struct, tag=True, frozen=True):
    """To a worker: a question, and the number under which it is answered."""

    number: int
    question: Question


class Stop(msgspec.Struct, tag=True, frozen=True):
    """To a worker: drain, and end."""


class Started(msgspec.Struct, tag=True, frozen=True):
    """Of a worker: it serves."""


class WorkerRefused(msgspec.Struct, tag=True, frozen=True):
    """Of a worker: it cannot start, and the sentence that says why."""

    sentence: str


class WorkerReport(msgspec.Struct, tag=True, frozen=True):
    """Of a worker: how it is."""

    health: Health
    numbers: Snapshot


class WorkerAnswer(msgspec.Struct, tag=True, frozen=True):
    """Of a worker: what it answers to the question of this number."""

    number: int
    answer: Answer


class Wrote(msgspec.Struct, tag=True, frozen=True):
    """A message from a worker: its journal has something new."""


class JournalMoved(msgspec.Struct, tag=True, frozen=True):
    """A message to a worker: the journal of another one has something new.

    Requests do not need it, since a worker looks at the journals before each. Readers that wait do.
    """


Message = (
    Begin
    | ReportStatus
    | WorkerQuestion
    | Stop
    | Started
    | WorkerRefused
    | WorkerReport
    | WorkerAnswer
    | Wrote
    | JournalMoved
)
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


class Channel:
    """One end. Each message is a line of JSON."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Self:
        """The channel over one of two sockets that are connected."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=LONGEST_MESSAGE))

    def send(self, message: Message) -> None:
        """Say something, if anybody is there."""
        if not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(message) + b"\n")

    @property
    def unsent(self) -> int:
        """Bytes that wait for the other one to take them."""
        return self._writer.transport.get_write_buffer_size()

    async def receive(self) -> Message | None:
        """What the other one says; None when it is gone, or speaks otherwise."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        if not line.endswith(b"\n"):
            return None
        try:
            return _decoder.decode(line)
        except msgspec.DecodeError as error:  # of a version installed since the other one started
            log.error("worker.not_understood", reason=str(error))
            return None

    async def close(self) -> None:
        """Send what was said, and end."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return
