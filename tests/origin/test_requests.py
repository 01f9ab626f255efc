from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import BadRequest, OriginTimeout
from tests.origin.opening import PREFIX, TARGET, ask, opened, send
from tests.support.origin_connections import idle_count
from tests.support.raw_origin import RawOrigin, Steps, Wire, answer
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_request_is_sent_unchanged_without_added_fields() -> None:
    async with RawOrigin(answer()) as server, opened(server) as origin:
        target = f"{PREFIX}/a%2Fb/%C3%A9?b=%41&a=+&c&d=&b=;:@!$'()*,"
        fields = [("x-b", "1"), ("X-A", "  two  words"), ("x-b", "3"), ("Via", "1.1 é")]
        await (await send(origin, "GET", target, *fields)).read(0)
        (heard,) = server.heard
        assert heard.line == f"GET {target} HTTP/1.1"
        assert heard.fields == [
            f"Host: localhost:{server.port}",
            "x-b: 1",
            "X-A:   two  words",
            "x-b: 3",
            "Via: 1.1 é",
        ]


@pytest.mark.parametrize(
    ("path", "target", "sent"),
    [
        ("", f"{PREFIX}/a/b?c=d", f"{PREFIX}/a/b?c=d"),
        ("", PREFIX, PREFIX),
        ("/", f"{PREFIX}/a/b?c=d", "/a/b?c=d"),
        ("/", f"{PREFIX}?c", "/?c"),
        ("/", PREFIX, "/"),
        ("/base", f"{PREFIX}/a?c", "/base/a?c"),
        ("/base/", f"{PREFIX}/a", "/base/a"),
        ("/base/", PREFIX, "/base"),
        ("/b%2Fc/~d", f"{PREFIX}/%2E", "/b%2Fc/~d/%2E"),
        ("/base", f"{PREFIX}{PREFIX}/a", f"/base{PREFIX}/a"),
    ],
)
async def test_a_path_in_the_origin_url_replaces_the_route_prefix(
    path: str, target: str, sent: str
) -> None:
    async with RawOrigin(answer()) as server, opened(server.url + path) as origin:
        await ask(origin, target=target)
        assert server.lines() == [f"GET {sent}"]


@pytest.mark.parametrize(
    ("body", "length", "sent"),
    [
        (None, None, b""),
        (b"", None, b""),
        (b"abc", None, b"abc"),
        ([b"ab", b"c"], "3", b"abc"),
        ([b"ab", b"c"], None, None),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_body_is_sent_with_its_length_or_in_chunks(
    method: str, body: bytes | list[bytes] | None, length: str | None, sent: bytes | None
) -> None:
    in_chunks = b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"

    async def play(wire: Wire) -> None:
        assert await wire.body() == (in_chunks if sent is None else sent)
        await wire.send(answer())

    async with RawOrigin(play) as server, opened(server) as origin:
        fields = [] if length is None else [("Content-Length", length)]
        given = chunks(*body) if isinstance(body, list) else body
        assert (await send(origin, method, TARGET, *fields, body=given)).status == 200
        framing = "Transfer-Encoding: chunked" if sent is None else f"Content-Length: {len(sent)}"
        assert server.heard[0].fields[1:] == [framing]


async def test_a_header_with_undecodable_bytes_is_refused() -> None:
    async with RawOrigin(answer()) as server, opened(server) as origin:
        with pytest.raises(BadRequest, match=r"^the header X-A is not UTF-8 text$"):
            await send(origin, "GET", TARGET, ("X-A", "a\udce9b"))
        assert server.connections == 0


async def test_proxy_variables_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with RawOrigin(answer(b"here")) as server, opened(server) as origin:
        assert (await ask(origin)).body == b"here"


async def test_cookies_of_the_origin_are_not_sent_back() -> None:
    cookie = answer(b"", "Set-Cookie: a=b; Path=/")
    async with RawOrigin(cookie) as server, opened(server) as origin:
        await ask(origin)
        await ask(origin)
        assert [heard.fields[1:] for heard in server.heard] == [[], []]


class Broken(Exception):
    """What a client's upload ends with."""


async def test_an_upload_that_raises_reaches_the_origin_incomplete() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"ab"
        raise Broken

    taken = []

    async def play(wire: Wire) -> None:
        taken.append(await wire.rest())

    async with RawOrigin(play) as server, opened(server) as origin:
        with pytest.raises(Broken):
            await ask(origin, "POST", body=failing())
        await until(lambda: bool(taken))
        assert taken == [b"2\r\nab\r\n"]
        assert origin.servers.why_unhealthy() is None


async def test_a_cancelled_request_closes_its_connection() -> None:
    async with RawOrigin(Steps(b"")) as server, opened(server) as origin:
        asking = asyncio.create_task(ask(origin))
        await until(lambda: bool(server.heard))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: server.closed == 1)


async def test_a_slow_request_body_does_not_count_against_the_response_timeout() -> None:
    async def slow() -> AsyncIterator[bytes]:
        await asyncio.sleep(0.8)  # the time that is tested
        yield b"a"
        await asyncio.sleep(0.8)  # the same
        yield b"b"

    async def play(wire: Wire) -> None:
        await wire.read_until(b"0\r\n\r\n")
        await wire.send(answer(b"ok"))

    async with RawOrigin(play) as server, opened(server, response_timeout=0.5) as origin:
        assert (await ask(origin, "POST", body=slow())).body == b"ok"


async def test_an_origin_that_stops_reading_an_upload_times_out() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)

    async def play(_: Wire) -> None:
        await asyncio.Event().wait()

    async with RawOrigin(play) as server, opened(server, response_timeout=0.2) as origin:
        with pytest.raises(OriginTimeout, match=r"the origin did not answer within 0\.2 s"):
            await ask(origin, "POST", body=endless())


async def test_a_response_before_the_end_of_an_upload_is_returned() -> None:
    sent = asyncio.Event()

    async def held() -> AsyncIterator[bytes]:
        yield b"a"
        await sent.wait()
        yield b"b"

    async with RawOrigin(answer(b"no", status="413 Too Large")) as server:
        async with opened(server) as origin:
            assert await ask(origin, "POST", body=held()) == (413, b"no")
            # What is left of the body must not become the next request.
            assert idle_count(origin) == 0
            await until(lambda: server.closed == 1)
            assert await ask(origin) == (413, b"no")
        assert server.connections == 2
