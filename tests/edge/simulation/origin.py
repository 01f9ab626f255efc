"""An origin that answers as a seed wants it to: late, cut, wrong, or as it should."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tests.edge.simulation import answers
from tests.edge.simulation.answers import Habits, Reply, Request

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.edge.simulation.network import Address, SimulatedLoop
    from tests.edge.simulation.streams import Stream, Version

_IS_OVER = "Connection: close"
_REFUSALS = ("404", "410", "429", "500", "503")
_CUT = ("hang", "cut", "reset")  # with nothing of an answer
_BROKEN = ("short", "chunk", "length", "slow")  # amid it
_FAULTS = ("late", "late", "nonsense", *_REFUSALS, *_CUT, *_BROKEN)


@dataclass(slots=True)
class Faults:
    """How often what goes wrong; `lag_s` is how old what a replica shows may be."""

    share: float = 0.0
    lag_s: float = 0.0

    @classmethod
    def by(cls, chance: random.Random) -> Faults:
        return cls(chance.choice([0.0, 0.05, 0.15, 0.4]), chance.choice([0.0, 0.0, 0.0, 2.0]))


class Asked(NamedTuple):
    """A request for data that the origin is about to answer, or has answered."""

    target: str
    whose: tuple[str, bool]  # the edge that passed it on, and whether for one reader alone
    at: float


@dataclass(slots=True)
class Origin:
    """`asked` is what came so far, `polls` what is being answered now."""

    loop: SimulatedLoop
    address: Address
    habits: Habits
    chance: random.Random
    streams: dict[str, Stream] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    asked: list[Asked] = field(default_factory=list)
    polls: list[Asked] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    _tasks: dict[asyncio.Task[None], None] = field(default_factory=dict)  # in order
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    # What the world does

    def start(self) -> None:
        self.loop.listen(self.address, self._protocol)

    def stop(self) -> None:
        """Crash: everything under way is cut, and nothing is accepted."""
        self.loop.refuse(self.address)
        for task in [*self._tasks]:
            task.cancel()

    def told(self, stream: Stream) -> None:
        stream.note(self.loop.time())
        self.wake()

    def wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def make_anew(self, stream: Stream, units: int) -> None:
        """Lose a stream and have another of about this length at its path."""
        stream.was_lost |= stream.current is not None
        making = stream.begin(self.loop.time(), self.chance)
        while len(making.units) < units:
            making.append(making.piece(self.chance, 12))
        stream.note(self.loop.time())
        if self.habits.wakes_polls:
            self.wake()

    # Connections

    def _protocol(self) -> _Accepted:
        gone = asyncio.Event()

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self.loop.create_task(self._converse(reader, writer, gone))
            self._tasks[task] = None
            task.add_done_callback(self._over)

        return _Accepted(asyncio.StreamReader(1 << 20), begin, gone)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append(error)

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gone: asyncio.Event
    ) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while not writer.is_closing():
                    request = await _request(reader)
                    await self._serve(request, writer, gone)
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def _serve(
        self, request: Request, writer: asyncio.StreamWriter, gone: asyncio.Event
    ) -> None:
        fault = self._fault()
        whose = request.fields.get("via", "").rpartition(", ")[2], "authorization" in request.fields
        asked = Asked(request.target, whose, self.loop.time())
        if request.method == "GET":
            self.asked.append(asked)
        if request.is_poll:
            self.polls.append(asked)
        left = self.loop.create_task(gone.wait())
        answering = self.loop.create_task(self._played(request, fault, writer))
        try:
            await asyncio.wait([left, answering], return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
            else:
                writer.transport.abort()
        finally:
            left.cancel()
            answering.cancel()
            if request.is_poll:
                self.polls.remove(asked)

    def _fault(self) -> str:
        return self.chance.choice(_FAULTS) if self.chance.random() < self.faults.share else ""

    async def _played(self, request: Request, fault: str, writer: asyncio.StreamWriter) -> None:
        chance = self.chance
        if chance.random() < 0.4 or fault == "late":
            await asyncio.sleep(chance.uniform(0, 6 if fault == "late" else 0.2))
        if fault in _REFUSALS:
            await _send(writer, Reply(int(fault), []))
            return
        if fault == "nonsense":
            writer.write(b"HTTQ/7 what\r\n\r\n")
            writer.close()
            return
        is_before = chance.random() < 0.5 and request.method != "GET"
        if fault in _CUT and is_before:
            await self._break(fault, writer)
            return
        reply = await self._reply(request)
        if chance.random() < 0.3 or fault == "late":
            await asyncio.sleep(chance.uniform(0, 6 if fault == "late" else 0.2))
        if fault in _CUT:
            await self._break(fault, writer)
        elif fault in _BROKEN:
            await self._send_badly(writer, reply, fault)
        else:
            await self._send_well(writer, reply)

    async def _break(self, fault: str, writer: asyncio.StreamWriter) -> None:
        if fault == "hang":
            await asyncio.sleep(self.chance.uniform(1, 60))
        if fault == "reset":
            writer.transport.abort()
        writer.close()

    async def _send_well(self, writer: asyncio.StreamWriter, reply: Reply) -> None:
        way = self.chance.random()
        if way < 0.6 or reply.status in {204, 304}:
            await _send(writer, reply)
        elif way < 0.9 or not self.habits.ends_by_closing:
            await _send_chunked(writer, reply)
        else:
            head = _head(reply, _IS_OVER)
            writer.write(head + reply.body)
            await writer.drain()
            writer.close()

    async def _send_badly(self, writer: asyncio.StreamWriter, reply: Reply, fault: str) -> None:
        if reply.status in {204, 304} or not reply.body:
            writer.close()
            return
        keeps = self.chance.randrange(len(reply.body))
        if fault == "slow":
            writer.write(_head(reply, f"Content-Length: {len(reply.body)}"))
            for part in (reply.body[:keeps], reply.body[keeps:]):
                await asyncio.sleep(self.chance.uniform(0, 4))
                writer.write(part)
            return
        if fault == "chunk":
            writer.write(_head(reply, "Transfer-Encoding: chunked"))
            part = reply.body[:keeps]
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if part else b"")
            if self.chance.random() < 0.5:
                writer.write(b"zz\r\n")
        else:
            writer.write(_head(reply, f"Content-Length: {len(reply.body)}"))
            writer.write(reply.body[:keeps])
        if fault == "length":
            await asyncio.sleep(self.chance.uniform(0, 30))
        writer.close()

    # What it answers

    async def _reply(self, request: Request) -> Reply:
        stream, now = self.streams.get(request.name), self.loop.time()
        if stream is None:  # a check of its health
            return Reply(404, [])
        if request.method != "GET":
            reply = answers.write(stream, request, self.chance, now)
            self.wake()
            return reply
        if request.is_poll:
            await self._wait(stream, request)
        version = self._seen(stream, is_poll=request.is_poll)
        return answers.read(self.habits, stream, version, request, self.loop.time())

    def _seen(self, stream: Stream, *, is_poll: bool) -> Version:
        """What the replica that is asked knows; polls are asked of the first."""
        now = self.loop.time()
        if is_poll or not self.faults.lag_s or self.chance.random() < 0.5:
            return stream.versions[-1]
        return stream.within(now - self.chance.uniform(0, self.faults.lag_s), now)[0]

    async def _wait(self, stream: Stream, request: Request) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.habits.poll_s):
                while answers.waits(self.habits, stream, request):
                    await self._changed.wait()


async def _request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *lines = head.split("\r\n")[:-2]
    fields = {}
    for one in lines:
        name, _, value = one.partition(": ")
        fields[name.lower()] = value
    method, target, _ = line.split(" ")
    body = await reader.readexactly(int(fields.get("content-length", 0)))
    return Request(method, target, fields, body)


class _Accepted(asyncio.StreamReaderProtocol):
    """Tells when the other side is gone, whatever waits to be read."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        begin: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None],
        gone: asyncio.Event,
    ) -> None:
        super().__init__(reader, begin)
        self._gone = gone

    def eof_received(self) -> bool | None:
        self._gone.set()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()
        super().connection_lost(exc)


def _head(reply: Reply, *more: str) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} Said", *reply.fields, *more, "", ""]
    return "\r\n".join(lines).encode()


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    length = [] if reply.status in {204, 304} else [f"Content-Length: {len(reply.body)}"]
    writer.write(_head(reply, *length) + reply.body)
    await writer.drain()


async def _send_chunked(writer: asyncio.StreamWriter, reply: Reply) -> None:
    chunk = b"%x\r\n%b\r\n" % (len(reply.body), reply.body) if reply.body else b""
    writer.write(_head(reply, "Transfer-Encoding: chunked") + chunk + b"0\r\n\r\n")
    await writer.drain()
