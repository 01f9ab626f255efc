"""A pipeline to a server that is played by hand: who is answered, when, and who is given up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import hiredis
import pytest

from headgate_gateway.logs.redis import pipeline
from headgate_gateway.logs.redis.connection import RedisConnection, Unreachable, pack
from headgate_gateway.logs.redis.pipeline import Pipeline
from tests.support.gated_log import turns
from tests.support.listener import Listener
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate_gateway.logs.redis.connection import Packed
    from headgate_gateway.logs.redis.pipeline import Answer

PATIENCE_S = 1.0
ENDLESS_S = 60.0  # where patience is not what is tested: a busy machine may be still for a second
LONG = 4 << 20
SLOW = 2 << 20  # bytes a second: twice the patience for what is long
STEP_S = 0.05
BUFFER = 64 << 10  # so that what the system holds back is a small part of it


class Peer(Listener):
    """A server that answers as it is told to, and remembers the commands that came."""

    def __init__(self, *, bytes_per_s: int = 0) -> None:
        super().__init__(self._serve)
        self.heard: list[bytes] = []  # the first word of each command
        self.connections = 0
        self._bytes_per_s = bytes_per_s  # of what it reads; 0 for as fast as it can
        self._writer: asyncio.StreamWriter | None = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writer = writer
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        commands = hiredis.Reader(notEnoughData=...)
        step = int(self._bytes_per_s * STEP_S) or 1 << 20
        while data := await reader.read(step):
            commands.feed(data)
            while (command := commands.gets()) is not ...:
                self.heard.append(command[0])
            if self._bytes_per_s:
                await asyncio.sleep(len(data) / self._bytes_per_s)  # the slowness is what is tested

    def say(self, data: bytes) -> None:
        assert self._writer is not None, "nobody is connected"
        self._writer.write(data)

    def hang_up(self) -> None:
        assert self._writer is not None, "nobody is connected"
        self._writer.transport.abort()


class Talk:
    """A pipeline to a peer, and what came of what was asked.

    The first connection of a `frozen` one is never made: the server takes it and says nothing.
    """

    def __init__(
        self, peer: Peer, *, timeout_s: float, epilogue: Packed | None = None, frozen: bool = False
    ) -> None:
        self.peer = peer
        self._frozen = frozen
        self.pipeline = Pipeline(self._connect, self._lost, timeout_s, epilogue)
        self.answers: dict[str, Answer | Unreachable] = {}
        self.lost: list[str] = []

    async def _connect(self) -> RedisConnection:
        connection = RedisConnection()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: connection, "127.0.0.1", self.peer.port)
        if self._frozen:
            self._frozen = False
            try:
                await loop.create_future()
            finally:
                transport.close()
        sending: socket.socket = transport.get_extra_info("socket")
        sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        return connection

    def _lost(self, gave_up: str) -> None:
        self.lost.append(gave_up)

    def ask(self, name: str, *words: bytes, expected: int = 0) -> None:
        """One call with a command of each word, and the name as its first."""
        self.pipeline.send([pack(name), *map(pack, words)], self._done(name), expected)

    def _done(self, name: str) -> pipeline.Done:
        return lambda answer: self.answers.update({name: answer})

    async def answered(self, name: str) -> Answer | Unreachable:
        await until(lambda: name in self.answers)
        return self.answers[name]


@contextlib.asynccontextmanager
async def talking(
    peer: Peer,
    *,
    timeout_s: float = ENDLESS_S,
    epilogue: Packed | None = None,
    frozen: bool = False,
) -> AsyncIterator[Talk]:
    talk = Talk(peer, timeout_s=timeout_s, epilogue=epilogue, frozen=frozen)
    async with peer:
        try:
            yield talk
        finally:
            await talk.pipeline.close()


# ---------------------------------------------------------------- patience


async def test_a_long_command_on_a_slow_link_does_not_time_out() -> None:
    async with talking(Peer(bytes_per_s=SLOW), timeout_s=PATIENCE_S) as talk:
        began = asyncio.get_running_loop().time()
        talk.ask("a", bytes(LONG))
        await until(lambda: len(talk.peer.heard) == 2)
        assert asyncio.get_running_loop().time() - began > 1.5 * PATIENCE_S
        talk.peer.say(b"+one\r\n+two\r\n")
        assert await talk.answered("a") == ([b"one", b"two"], None)
        assert talk.lost == []


async def test_a_long_reply_on_a_slow_link_does_not_time_out() -> None:
    async with talking(Peer(), timeout_s=2 * PATIENCE_S) as talk:
        talk.ask("a")
        await until(lambda: bool(talk.peer.heard))
        talk.peer.say(b"$%d\r\n" % LONG)
        for _ in range(10):
            talk.peer.say(bytes(LONG // 10))
            await asyncio.sleep(0.25 * PATIENCE_S)  # the slowness is what is tested
        talk.peer.say(bytes(LONG % 10) + b"\r\n")
        assert await talk.answered("a") == ([bytes(LONG)], None)
        assert talk.lost == []


@pytest.mark.parametrize("said", [b"", pytest.param(b"+one\r\n$100\r\nhalf", id="half-a-reply")])
async def test_a_connection_without_progress_times_out(said: bytes) -> None:
    async with talking(Peer(), timeout_s=PATIENCE_S) as talk:
        talk.ask("a", b"b")
        await until(lambda: len(talk.peer.heard) == 2)
        talk.peer.say(said)
        answer = await talk.answered("a")
        assert isinstance(answer, Unreachable)
        assert (answer.why, answer.was_sent) == ("no answer within 1 s", True)
        assert talk.lost == ["no answer within 1 s"]
        talk.ask("c")  # on a new connection
        await until(lambda: talk.peer.heard[2:] == [b"c"])
        assert talk.peer.connections == 2


# ---------------------------------------------------------------- who is answered, and when


async def test_each_request_completes_when_its_own_replies_arrive() -> None:
    async with talking(Peer()) as talk:
        for name in ("a", "b", "c"):
            talk.ask(name, b"more")
        await until(lambda: len(talk.peer.heard) == 6)
        talk.peer.say(b"+1\r\n+2\r\n+3\r\n")
        assert await talk.answered("a") == ([b"1", b"2"], None)
        talk.peer.say(b"+4\r\n")
        assert await talk.answered("b") == ([b"3", b"4"], None)
        assert "c" not in talk.answers
        talk.ask("d")  # gathers while that pipeline is under way
        talk.peer.say(b"+5\r\n+6\r\n")
        assert await talk.answered("c") == ([b"5", b"6"], None)
        await until(lambda: talk.peer.heard[6:] == [b"d"])


async def test_requests_with_an_epilogue_complete_after_it() -> None:
    async with talking(Peer(), epilogue=pack("last")) as talk:
        talk.ask("a")
        talk.ask("b")
        await until(lambda: talk.peer.heard == [b"a", b"b", b"last"])
        talk.peer.say(b"+1\r\n+2\r\n")
        talk.peer.say(b"+end\r\n")
        assert await talk.answered("b") == ([b"2"], b"end")
        assert talk.answers["a"] == ([b"1"], b"end")


@pytest.mark.parametrize("are_long", ["commands", "replies"])
async def test_a_redis_pipeline_over_the_byte_limit_waits_for_earlier_replies(
    monkeypatch: pytest.MonkeyPatch, are_long: str
) -> None:
    monkeypatch.setattr(pipeline, "MAX_PIPELINE_BYTES", 10_000)
    names = [str(number) for number in range(6)]
    async with talking(Peer()) as talk:
        for name in names:
            if are_long == "commands":
                talk.pipeline.send([pack(name, bytes(5000))], talk._done(name))
            else:
                talk.ask(name, expected=5000)
        for end in (2, 4, 6):
            await until(lambda end=end: len(talk.peer.heard) >= end)  # type: ignore[misc]
            assert talk.peer.heard == [name.encode() for name in names[:end]]
            talk.peer.say(b"+first\r\n")
            await talk.answered(names[end - 2])
            assert len(talk.peer.heard) == end  # a pipeline is answered as a whole before the next
            talk.peer.say(b"+second\r\n")
            await talk.answered(names[end - 1])
        assert talk.peer.connections == 1


# ---------------------------------------------------------------- what goes wrong


async def test_a_connection_lost_while_idle_is_not_reported() -> None:
    """Redis closes idle ones after its `timeout`; the other pipeline is well all the same."""
    async with talking(Peer()) as talk:
        talk.ask("a")
        await until(lambda: bool(talk.peer.heard))
        talk.peer.say(b"+1\r\n")
        await talk.answered("a")
        talk.peer.hang_up()
        await until(lambda: not talk.pipeline.is_open)
        assert talk.lost == []
        talk.ask("b")
        await until(lambda: talk.peer.heard == [b"a", b"b"])
        talk.peer.say(b"+2\r\n")
        assert await talk.answered("b") == ([b"2"], None)
        assert talk.peer.connections == 2


async def test_a_connection_lost_while_a_reply_is_due_fails_the_request() -> None:
    async with talking(Peer()) as talk:
        talk.ask("a")
        await until(lambda: bool(talk.peer.heard))
        talk.peer.hang_up()
        answer = await talk.answered("a")
        assert isinstance(answer, Unreachable)
        assert answer.was_sent
        assert answer.why.startswith("the connection was lost")
        assert talk.lost == [""]  # not by us


async def test_a_connection_cut_while_it_is_being_made_is_made_again() -> None:
    async with talking(Peer(), frozen=True) as talk:
        talk.ask("a")
        await until(lambda: talk.peer.connections == 1)
        talk.pipeline.cut()
        await until(lambda: talk.peer.heard == [b"a"])
        assert talk.peer.connections == 2
        talk.peer.say(b"+1\r\n")
        assert await talk.answered("a") == ([b"1"], None)
        assert talk.lost == []


async def test_a_connection_cut_before_it_is_begun_is_still_made() -> None:
    async with talking(Peer()) as talk:
        talk.ask("a")
        await turns(1)
        assert talk.peer.connections == 0
        talk.pipeline.cut()
        await until(lambda: talk.peer.heard == [b"a"])


@pytest.mark.parametrize("is_lost", [False, True])
async def test_a_callback_that_raises_does_not_affect_other_requests(*, is_lost: bool) -> None:
    def fail(_: Answer | Unreachable) -> None:
        raise ValueError

    async with talking(Peer()) as talk:
        talk.ask("a")
        talk.pipeline.send([pack("b")], fail)
        talk.ask("c")
        await until(lambda: len(talk.peer.heard) == 3)
        if is_lost:
            talk.peer.hang_up()
        else:
            talk.peer.say(b"+1\r\n+2\r\n+3\r\n")
        await talk.answered("c")
        assert isinstance(talk.answers["a"], Unreachable) is is_lost
        talk.ask("d")
        await until(lambda: talk.peer.heard[3:] == [b"d"])
