"""Commands to one Redis server, gathered while the last pipeline is under way."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.background import settle
from headgate_gateway.logs.redis.connection import LOST, Unreachable, size_of
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headgate_gateway.logs.redis.connection import Packed, RedisConnection, Reply

    Connect = Callable[[], Awaitable[RedisConnection]]  # raises Unreachable
    # What came for a call's commands, and for the epilogue of its pipeline.
    Answer = tuple[list[Reply], Reply]
    Done = Callable[["Answer | Unreachable"], None]

MAX_PIPELINE = 4096  # commands at once: some milliseconds of the server's time
MAX_PIPELINE_BYTES = 16 << 20  # of them or their replies: what the server holds at a time
# As many do not wait for those that the rest of a loop's pass may bring: the server works on them
# meanwhile. On 1,000 streams 16 gave a fifth more appends than none, and 32 a tenth more than 16.
ENOUGH = 32
STOOD_STILL_S = 0.5  # by which a timer is late where the process was stopped, or far too busy


class PendingCall(NamedTuple):
    """Packed commands that belong together, and the receiver of their replies.

    `weight` is about how many bytes they or their replies are.
    """

    commands: Sequence[Packed]
    done: Done
    weight: int


class _SilenceTimer:
    """A timer that ends when nothing has moved on a connection for a while.

    A long command or reply may take longer than that, as long as bytes come or go. A process that
    stood still waits as long again: its timers fire before it reads what has come meanwhile.
    """

    def __init__(self, timeout_s: float, on_silence: Callable[[float], None]) -> None:
        """Call `on_silence` with `timeout_s` after so many seconds of silence."""
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._on_silence = on_silence
        self._timer: asyncio.TimerHandle | None = None
        self._moved_at = 0.0  # loop time at which something was last seen to move
        self._unsent = 0
        self._due_at = 0.0  # loop time of the next look

    def start(self, connection: RedisConnection) -> None:
        """Watch a connection on which commands were just sent."""
        self._moved_at, self._unsent = self._loop.time(), connection.unsent
        self._due_at = self._moved_at + self._timeout_s
        self._timer = self._loop.call_at(self._due_at, self._look, connection)

    def stop(self) -> None:
        """Watch no longer: all replies are here, or the connection is lost."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, connection: RedisConnection) -> None:
        now = self._loop.time()
        if connection.unsent < self._unsent or now - self._due_at > STOOD_STILL_S:
            self._moved_at, self._unsent = now, connection.unsent
        self._moved_at = max(self._moved_at, connection.last_received_at)
        self._due_at = self._moved_at + self._timeout_s
        if self._due_at > now:
            self._timer = self._loop.call_at(self._due_at, self._look, connection)
        else:
            self._on_silence(self._timeout_s)


class Pipeline:
    """A connection, opened with the first command, with one pipeline in flight.

    While commands wait for replies, others gather and are sent together: under load a few hundred
    share the cost of a system call on either side.
    """

    def __init__(
        self,
        connect: Connect,
        lost: Callable[[str], None],
        timeout_s: float,
        epilogue: Packed | None = None,
    ) -> None:
        """Call `lost` when the connection is lost while a reply is due, with why if it was cut.

        `timeout_s` is the longest time in which nothing at all moves on it while a reply is due.
        `epilogue` is a command after each pipeline, whose reply goes to all of its calls.
        """
        self._loop = asyncio.get_running_loop()
        self._connect = connect
        self._on_lost = lost
        self._silence = _SilenceTimer(timeout_s, self._on_silence)
        self._epilogue = epilogue
        self._connection: RedisConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: deque[PendingCall] = deque()
        self._sent: deque[PendingCall] = deque()
        self._replies: list[Reply] = []
        self._due = 0  # replies to what was sent
        self._sent_at = 0.0
        self.answered_sent_at = 0.0  # when the commands whose replies are passed on now were sent
        self._why = ""  # the reason why this side has cut the connection
        self._kicked = False
        self._closed = False

    @property
    def is_open(self) -> bool:
        """True while the connection is open."""
        return self._connection is not None and self._connection.is_open

    def send(self, commands: Sequence[Packed], done: Done, expected: int = 0) -> None:
        """Send in the next pipeline; `done` gets the replies, or Unreachable, in a later pass.

        `expected` is about how many bytes the replies may be, where they are many.
        """
        self._waiting.append(PendingCall(commands, done, max(size_of(commands), expected)))
        if self._sent:
            return
        enough = len(commands) >= ENOUGH or len(self._waiting) >= ENOUGH
        if enough and self._connection is not None:
            self._start()
        elif not self._kicked:
            self._kicked = True
            self._loop.call_soon(self._start)

    async def ask(self, commands: Sequence[Packed]) -> Answer:
        """Return the replies. Raises Unreachable."""
        answered: asyncio.Future[Answer] = self._loop.create_future()
        self.send(commands, partial(settle, answered))
        return await answered

    def _start(self) -> None:
        self._kicked = False
        if self._sent or not self._waiting or self._connecting is not None:
            return
        connection = self._connection
        if connection is None:
            if self._closed:
                self._fail(Unreachable("the gateway is stopping"))
            else:
                self._connecting = self._loop.create_task(self._open())
                self._connecting.add_done_callback(self._opened)
            return
        weight = 0
        commands: list[Packed] = []
        while self._waiting and len(commands) < MAX_PIPELINE and weight < MAX_PIPELINE_BYTES:
            call = self._waiting.popleft()
            self._sent.append(call)
            commands += call.commands
            weight += call.weight
        if self._epilogue is not None:
            commands.append(self._epilogue)
        self._due = len(commands)
        connection.send(commands)
        self._sent_at = monotonic()
        self._silence.start(connection)

    async def _open(self) -> None:
        try:
            self._connection = connection = await self._connect()
            connection.start(self._on_replies, self._lost)
        except Unreachable as failure:
            self._fail(failure)
        except Exception as error:  # noqa: BLE001 - the waiting calls must get an error
            log.exception("log.connection_failed")
            self._fail(Unreachable(f"no connection can be made: {error!r}"))

    def _opened(self, _: asyncio.Task[None]) -> None:
        """Start the next attempt to connect if one is needed, also after a cancelled one."""
        self._connecting = None
        self._start()

    def _on_silence(self, timeout_s: float) -> None:
        self._why = f"no answer within {timeout_s:g} s"
        self.cut()

    def _on_replies(self, replies: list[Reply]) -> None:
        self._replies += replies
        self._due -= len(replies)
        last = None
        if self._epilogue is not None:
            if self._due:
                return  # its reply goes with all the others
            last = self._replies.pop()
        answered = []  # calls whose replies are all here
        at = 0
        while self._sent and (end := at + len(self._sent[0].commands)) <= len(self._replies):
            answered.append((self._sent.popleft(), self._replies[at:end]))
            at = end
        del self._replies[:at]
        sent_at = self._sent_at
        if not self._sent:
            self._silence.stop()
            # The next pipeline goes out before the answers of this one are dealt with.
            self._start()
        self.answered_sent_at = sent_at
        for call, mine in answered:
            _set_result(call, (mine, last))

    def _lost(self, error: Exception | None) -> None:
        self._connection = None
        self._silence.stop()
        gave_up, self._why = self._why, ""
        why = gave_up or LOST
        sent, self._sent = self._sent, deque()
        self._replies = []
        if sent:  # else it was only idle, and the next command opens a new one
            self._on_lost(gave_up)
        for call in sent:
            _set_result(call, Unreachable(f"{why}: {error}" if error else why, was_sent=True))
        self._start()

    def _fail(self, failure: Unreachable) -> None:
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            _set_result(call, failure)

    def cut(self) -> None:
        """Abort the connection, for example to a server that is no longer the right one.

        This includes one that is being opened: a frozen server would delay that for seconds.
        """
        if self._connection is not None:
            self._connection.close()
        elif self._connecting is not None:
            self._connecting.cancel()

    async def close(self) -> None:
        """End the connection; calls that still wait get Unreachable."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        self._fail(Unreachable("the gateway is stopping"))
        self.cut()


def _set_result(call: PendingCall, answer: Answer | Unreachable) -> None:
    try:
        call.done(answer)
    except Exception:  # noqa: BLE001 - the other calls must get their replies
        log.exception("log.unanswered")
