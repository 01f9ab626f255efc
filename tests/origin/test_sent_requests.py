"""How requests are sent without a task: what is passed on whole, and what an sent holds."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
from multidict import CIMultiDict

from headgate_gateway.errors import BadRequest, OriginBroken, OriginUnreachable
from headgate_gateway.origin import connection
from headgate_gateway.origin.answer import OriginAnswer, PendingAnswer
from headgate_gateway.origin.reader import GATHERED_BYTES
from headgate_gateway.origin.requests import OriginRequest, field_block
from headgate_gateway.origin.servers import OriginServer
from tests.origin.opening import LIMIT, TARGET, ask, full_queue, opened, send
from tests.support.origin_connections import idle_count
from tests.support.raw_origin import RawOrigin, Steps, Wire, answer, silence
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.origin.client import Origin, SentRequest

OK = b"HTTP/1.1 200 OK\r\n"


def start(origin: Origin, pending: PendingAnswer, body: bytes = b"") -> SentRequest:
    return origin.start(OriginRequest("POST" if body else "GET", TARGET, b"", body), pending)


async def test_an_answer_that_comes_at_once_is_whole_and_its_connection_reused() -> None:
    fields = ["b: 1", "A:  two  words ", 'ETag: "e"', "Stream-Next-Offset: 9"]
    async with RawOrigin(answer(b"ab", *fields)) as server, opened(server) as origin:
        for _ in range(2):
            got = await send(origin)
            assert (got.status, got.body, got.server) == (200, b"ab", server.url)
            assert [part async for part in got.parts()] == [b"ab"]
            assert list(got.headers.items()) == [
                ("b", "1"),
                ("A", "two  words"),
                ("ETag", '"e"'),
                ("Stream-Next-Offset", "9"),
                ("Content-Length", "2"),
            ]
            told = {"etag": '"e"', "stream-next-offset": "9", "content-length": "2"}
            assert got.volatile == told
            assert (idle_count(origin), origin.requests.count) == (1, 0)
        assert server.connections == 1


@pytest.mark.parametrize("size", [GATHERED_BYTES, GATHERED_BYTES + 1])
async def test_a_body_that_comes_in_pieces_is_one_answer_only_up_to_gathered_bytes(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(connection, "GATHERING_S", 60)
    steps = Steps(OK + b"Content-Length: %d\r\n\r\n" % size, bytes(size - 1), b"\0")
    async with RawOrigin(steps) as server, opened(server) as origin:
        steps.go()
        steps.go()
        got = await send(origin)
        assert (got.body is not None) == (size <= GATHERED_BYTES)
        assert await got.read(size) == bytes(size)
        await until(lambda: idle_count(origin) == 1)


async def test_a_chunked_body_is_gathered_no_further_than_gathered_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "GATHERING_S", 60)
    size = GATHERED_BYTES + (512 << 10)
    begun = OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size
    steps = Steps(begun, bytes(size), b"\r\n0\r\n\r\n")
    async with RawOrigin(steps) as server, opened(server) as origin:
        steps.go()
        got = await send(origin)
        assert got.body is None
        steps.go()
        assert await got.read(size) == bytes(size)


@pytest.mark.parametrize("pieces", [1, 2, 40])
async def test_a_whole_chunked_response_has_a_content_length(
    monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    monkeypatch.setattr(connection, "GATHERING_S", 60)
    head = OK + b"transfer-encoding: chunked\r\nETag: x\r\n\r\n"
    chunks = b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    size = -(-len(chunks) // pieces)
    parts = [chunks[at : at + size] for at in range(0, len(chunks), size)]
    steps = Steps(head + parts[0], *parts[1:])
    async with RawOrigin(steps) as server, opened(server) as origin:
        for _ in parts[1:]:
            steps.go()
        got = await send(origin)
        assert got.body == b"abc"
        assert list(got.headers.items()) == [("ETag", "x"), ("Content-Length", "3")]
        assert got.volatile == {"etag": "x", "content-length": "3"}
        assert (idle_count(origin), origin.requests.count) == (1, 0)


async def test_a_slow_body_is_passed_on_in_parts() -> None:
    steps = Steps(OK + b"Content-Length: 2\r\n\r\na", b"b")
    async with RawOrigin(steps) as server, opened(server) as origin:
        got = await send(origin)
        assert (got.body, idle_count(origin)) == (None, 0)
        steps.go()
        assert await got.read(LIMIT) == b"ab"
        assert idle_count(origin) == 1


async def test_a_body_that_nobody_takes_is_read_no_further() -> None:
    part, sent = bytes(1 << 20), 0

    async def endless(wire: Wire) -> None:
        nonlocal sent
        await wire.send(OK + b"Content-Length: %d\r\n\r\n" % (64 * len(part)))
        for _ in range(64):
            await wire.send(part)
            sent += 1

    async with RawOrigin(endless) as server, opened(server) as origin:
        got = await send(origin)
        await asyncio.sleep(0.2)  # for more of it to come than may
        assert sent < 48
        assert len(await got.read(64 * len(part))) == 64 * len(part)


@pytest.mark.parametrize(
    "begun",
    [
        None,
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="an-interim-answer"),
        pytest.param(OK + b"Content-Length: 2\r\n\r\na", id="a-part-of-its-body"),
    ],
)
async def test_an_abandoned_request_ends_at_once(begun: bytes | None) -> None:
    async with RawOrigin(answer(), Steps(begun or b"")) as server, opened(server) as origin:
        await ask(origin)
        pending = PendingAnswer()
        sent = start(origin, pending)
        assert origin.requests.count == 1
        if begun is not None:
            await until(lambda: len(server.heard) == 2)
        for _ in range(2):
            sent.abandon()
            assert origin.requests.count == 0
        await until(lambda: server.closed == 1)
        assert idle_count(origin) == 0
        assert not pending.done()


async def test_a_request_that_is_abandoned_while_it_connects_sends_nothing() -> None:
    async with RawOrigin(answer()) as server, opened(server) as origin:
        start(origin, PendingAnswer()).abandon()
        assert origin.requests.count == 0
        assert (await ask(origin)).status == 200
        assert len(server.heard) == 1


async def test_a_response_that_begins_as_its_task_is_cancelled_is_released(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unfinished = Steps(OK + b"Content-Length: 2\r\n\r\na")
    async with RawOrigin(answer(), unfinished) as server, opened(server) as origin:
        await ask(origin)
        task = asyncio.create_task(origin.send("GET", TARGET, CIMultiDict()))
        begin = PendingAnswer.on_answer

        def begin_and_leave(self: PendingAnswer, answer: OriginAnswer) -> None:
            begin(self, answer)
            task.cancel()  # before it is woken

        monkeypatch.setattr(PendingAnswer, "on_answer", begin_and_leave)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert origin.requests.count == 0
        await until(lambda: server.closed == 1)


async def test_closing_an_origin_ends_its_requests() -> None:
    async with RawOrigin(answer(), silence) as server:
        async with opened(server) as origin:
            await ask(origin)
            pending = PendingAnswer()
            start(origin, pending)
        assert not pending.done()
        assert origin.requests.count == 0


async def test_a_receiver_that_raises_is_told_of_a_failure_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    begun = OK + b"Content-Length: 2\r\n\r\na"
    for script in (answer(b"ab"), Steps(begun)):
        async with RawOrigin(script) as server, opened(server) as origin:
            with monkeypatch.context() as patch:
                patch.setattr(PendingAnswer, "on_answer", fail)
                with pytest.raises(OriginBroken, match="something failed here"):
                    await origin.send("GET", TARGET, CIMultiDict())
            assert origin.requests.count == 0
            await until(lambda server=server: server.closed == 1)  # type: ignore[misc]


async def test_a_response_before_the_request_was_sent_closes_the_connection() -> None:
    async def play(wire: Wire) -> None:
        await wire.send(answer(b"no", status="413 Too Large"))
        await asyncio.Event().wait()

    async with RawOrigin(play) as server, opened(server) as origin:
        pending = PendingAnswer()
        start(origin, pending, bytes(64 << 20))
        assert (await pending).status == 413
        assert idle_count(origin) == 0


@pytest.mark.parametrize(
    "rest",
    [
        *(pytest.param("a b", id="a-space"), pytest.param("a\r\nb", id="a-line-end")),
        *(pytest.param("a\tb", id="a-tab"), pytest.param("a\x7f", id="DEL")),
    ],
)
async def test_a_target_that_is_more_than_one_word_is_refused(rest: str) -> None:
    async with RawOrigin(answer()) as server, opened(server) as origin:
        with pytest.raises(BadRequest, match="characters that cannot be sent"):
            await ask(origin, target=f"{TARGET}/{rest}")
        assert (server.connections, origin.requests.count) == (0, 0)


def test_fields_about_the_message_are_not_taken_from_a_request() -> None:
    fields = CIMultiDict(
        [("Host", "a"), ("content-length", "3"), ("Connection", "x"), ("A", "b"), ("A", "é")]
    )
    assert field_block(fields) == "A: b\r\nA: é\r\n".encode()


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let several.test lead to these addresses."""
    loop = asyncio.get_running_loop()

    look_up = loop.getaddrinfo

    async def found(host: str, port: int, **options: Any) -> list[Any]:
        if host != "several.test":  # the loop itself looks each address up
            return await look_up(host, port, **options)
        kind = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, ""
        return [(*kind, (address, port)) for address in addresses]

    monkeypatch.setattr(loop, "getaddrinfo", found)


@pytest.mark.parametrize("second", ["127.0.0.1", "127.0.0.3"])
async def test_a_server_is_unreachable_only_if_it_refuses_at_all_its_addresses(
    second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "127.0.0.2", second)
    server = RawOrigin(answer(b"there"))
    async with server, opened(f"http://several.test:{server.port}") as origin:
        if second == "127.0.0.1":
            assert (await ask(origin)).body == b"there"
        else:
            with pytest.raises(OriginUnreachable, match="cannot be connected to"):
                await ask(origin)


async def test_a_server_with_a_silent_address_is_reached_at_the_next_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
    async with RawOrigin(answer(b"there")) as server:
        with full_queue("127.0.0.2", server.port):
            url = f"http://several.test:{server.port}"
            async with opened(url, connect_timeout=5) as origin:
                assert (await ask(origin)).body == b"there"


def test_a_host_name_with_umlauts_is_looked_up_in_ascii() -> None:
    assert OriginServer("http://bücher.test", "/v1").endpoint == ("xn--bcher-kva.test", 80)
