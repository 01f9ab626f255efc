"""Messages between the supervisor and a worker, over a socket that only the two have.

The socket closes with either process: so each knows when the other is gone, whatever ended it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import msgspec

from headgate_gateway.features.questions.contract import Answer, Question
from headgate_gateway.features.questions.process_source import Health
from headgate_gateway.telemetry.logs import log
from headgate_gateway.telemetry.metrics import Snapshot

if TYPE_CHECKING:
    import socket
    from typing import Self

LONGEST_MESSAGE = 64 << 20  # bytes; settings with many routes are the longest


class StartMessage(msgspec.Struct, tag=True, frozen=True):
    """A message that begins a worker, with its settings as JSON.

    The settings may hold passwords, so they are no argument of the process. `console` is the hash
    of the console's token, and `journal` the descriptor of the memory in which the workers announce
    writes to each other. `listeners` are those of the sockets from which all workers accept
    connections: those that the service manager passed for `listen`, and that of the front.
    """

    settings: str
    console: bytes
    journal: int
    listeners: tuple[int, ...] = ()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors that the worker inherits."""
        return (self.journal, *self.listeners)


class ReportStatus(msgspec.Struct, tag=True, frozen=True):
    """A request for the health and the numbers of a worker."""


class WorkerReport(msgspec.Struct, tag=True, frozen=True):
    """The health of a worker and its numbers."""

    health: Health
    numbers: Snapshot


class PrepareReload(msgspec.Struct, tag=True, frozen=True):
    """A request to prepare a reload with these settings, as JSON."""

    settings: str


class ReloadOutcome(msgspec.Struct, tag=True, frozen=True):
    """The result of preparing a reload: None, or why it cannot be, as a sentence."""

    refusal: str | None


Reply = WorkerReport | ReloadOutcome | Answer


class WorkerRequest(msgspec.Struct, tag=True, frozen=True):
    """A message to a worker: a request, and the number under which it is replied to."""

    number: int
    body: ReportStatus | PrepareReload | Question


class WorkerReply(msgspec.Struct, tag=True, frozen=True):
    """A message from a worker: its reply to the request of this number."""

    number: int
    body: Reply


class Signal(msgspec.Struct, tag=True, frozen=True):
    """A message without content."""

    name: Literal["stop", "commit", "abandon", "look", "ready", "written"]


# To a worker.
STOP = Signal("stop")  # drain, and end
COMMIT = Signal("commit")  # put in force the reload that is prepared
ABANDON = Signal("abandon")  # or drop it
# The journal of another worker has something new. Requests do not need it, since a worker looks at
# the journals before each. Readers that wait do.
LOOK = Signal("look")
# From a worker.
READY = Signal("ready")  # it serves
WRITTEN = Signal("written")  # its journal has something new


class StartFailureMessage(msgspec.Struct, tag=True, frozen=True):
    """A message from a worker: it cannot start, with the reason as a sentence."""

    sentence: str


Message = StartMessage | StartFailureMessage | WorkerRequest | WorkerReply | Signal
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


class Channel:
    """An end of the socket between supervisor and worker. Each message is a line of JSON."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Self:
        """Return the channel over one of two connected sockets."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=LONGEST_MESSAGE))

    def send(self, message: Message) -> None:
        """Send a message, unless the other process is gone."""
        if not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(message) + b"\n")

    @property
    def unsent(self) -> int:
        """Number of bytes that the other process has not taken yet."""
        return self._writer.transport.get_write_buffer_size()

    async def receive(self) -> Message | None:
        """Return the next message; None when the other process is gone or sends an unknown one."""
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
        """Send what is queued, and close the socket."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return
