"""Guarded streams, as the console reads and changes them: it is let in, and nobody is told how."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from aiohttp import ClientSession, ClientTimeout, web

from headgate_admin.streams import client
from tests.admin.consoles import VIEWER
from tests.admin.in_process import RunningConsole, running
from tests.support.admin_server import AdminServer
from tests.support.guarded_gateway import bearer, tokens_file
from tests.support.http1 import ask as ask_once
from tests.support.log_lines import capture_logs
from tests.support.redis_servers import redis_server
from tests.support.serving import PREFIX
from tests.support.waiting import until, wait_until
from tests.workers.several import several

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.workers.several import Several

WRITER = dict([bearer("all").split(": ")])
TEXT = {"Content-Type": "text/plain"}
TAILS = 12  # connections, which two workers share: all at one of them is 1 in 2,048


class Origin:
    """A server of streams, and the header fields of all that it was asked."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, str]] = []
        self.status = 200

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.headers))
        told = {"Stream-Next-Offset": "7", "Stream-Up-To-Date": "true"}
        told["Cache-Control"] = "max-age=60"
        return web.Response(text="data", status=self.status, headers=told)


class Guarded(NamedTuple):
    """A gateway with guarded routes, its console, and the origin of some routes."""

    console: RunningConsole
    origin: Origin

    async def messages(self, route: str, name: str = "a/s") -> tuple[int, str]:
        """Return the last messages of a stream, or why the console does not show them."""
        query = {"route": route, "name": name, "offset": "latest"}
        status, found = await self.console.ask("GET", "stream/messages", **query)
        if status != 200:
            return status, found["detail"]
        return status, "".join(message["text"] for message in found["messages"])

    async def stream(self, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        """Return the status that a client of streams gets."""
        url = f"http://{self.console.settings.listen}{path}"
        fields = {**TEXT, **headers}
        async with self.console.http.request(method, url, data=body, headers=fields) as answer:
            return answer.status


@asynccontextmanager
async def guarded(folder: Path, **more: Any) -> AsyncIterator[Guarded]:
    origin = Origin()
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", origin.answer)
    async with AdminServer(app) as server:
        url = f"http://127.0.0.1:{server.port}/of"
        routes = (
            {"prefix": PREFIX, "storage": "memory:"},
            {"prefix": "/free", "storage": "memory:", "auth": "none"},
            {"prefix": "/edge", "origin": url},
            {"prefix": "/open", "origin": url, "auth": "none"},
            {"prefix": "/edge/asked", "origin": url, "auth": "origin"},
        )
        file = str(tokens_file(folder))
        async with running(*routes, auth="tokens", tokens_file=file, **more) as console:
            yield Guarded(console, origin)


async def test_the_console_reads_and_changes_guarded_streams_without_a_token(
    tmp_path: Path,
) -> None:
    of_stream = {"route": PREFIX, "name": "a/s"}
    async with guarded(tmp_path) as at:
        assert await at.stream("PUT", f"{PREFIX}/a/s", b"one,", **WRITER) == 201
        assert await at.stream("GET", f"{PREFIX}/a/s?offset=-1") == 401
        assert await at.messages(PREFIX) == (200, "one,")
        appended = {**of_stream, "content_type": "", "data": "two"}
        assert (await at.console.ask("POST", "stream/append", appended))[0] == 200
        assert await at.messages(PREFIX) == (200, "one,two")
        assert (await at.console.ask("POST", "stream/close", of_stream))[0] == 200
        assert (await at.console.ask("DELETE", "stream", **of_stream))[0] == 204
        assert (await at.messages(PREFIX))[0] == 404


async def test_a_console_tail_of_a_guarded_stream_survives_a_reload_of_tokens(
    tmp_path: Path,
) -> None:
    async with guarded(tmp_path) as at:
        assert await at.stream("PUT", f"{PREFIX}/a/s", b"one", **WRITER) == 201
        query = {"route": PREFIX, "name": "a/s", "offset": "-1"}
        async with at.console.open("/api/v1/stream/events", query, VIEWER) as events:
            assert await next_texts(events.content) == ["one"]
            # A change of the file judges everybody again: the console is not in it. The gateway
            # looks at the file once in a while only.
            at.console.gateway._configuration.authorities.recheck_principals()
            for text in ("two", "three"):
                assert await at.stream("POST", f"{PREFIX}/a/s", text.encode(), **WRITER) == 204
                assert await next_texts(events.content) == [text]


async def next_texts(events: asyncio.StreamReader | Any) -> list[str]:
    """The messages of the next event of a tail."""
    async with asyncio.timeout(20):
        while not (line := await events.readline()).startswith(b"data: "):
            assert line, "the tail has ended"
    return [message["text"] for message in json.loads(line[6:])["messages"]]


async def test_the_console_token_reaches_neither_origins_nor_logs_nor_metrics(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "headgate")
    with capture_logs() as lines:
        async with guarded(tmp_path, log_requests="info", log_level="debug") as at:
            for route, name in (
                ("/edge", "a/s"),
                ("/open", "a/s"),
                ("/edge/asked", "a/s"),
                ("/hidden", "a/s"),
                ("/edge", "asked/s"),  # a stream of another route than it is asked for by
                (PREFIX, "a/s"),
            ):
                await at.messages(route, name)
            assert await at.messages("/edge") == (200, "data")
            for path in ("overview", "configuration", "about", "streams?route=/edge"):
                await at.console.ask("GET", path)
            # The hash of the console token for its repr, which a line of the log may have.
            told = [
                await at.console.gateway.measure(),
                await at.console.gateway.health(),
                at.console.gateway._maker.console,
            ]
            secret = at.console.gateway.console._secret
            asked = at.origin.asked
    assert len(asked) >= 10
    assert not [fields for fields in asked if "Authorization" in fields]
    assert secret not in f"{lines}{told}{caplog.text}"
    requests = [line for line in lines if line["event"] == "request"]
    assert {line.get("principal") for line in requests} == {"console", None}
    assert {line["client"] for line in requests} == {client.own_address("127.0.0.1") or "127.0.0.1"}


async def test_the_console_gets_403_with_a_reason_where_the_origin_decides_on_access(
    tmp_path: Path,
) -> None:
    why = "the origin of {} decides who may do this, and the console has no credentials for it"
    async with guarded(tmp_path) as at:
        known = {"Authorization": "Basic YTpi"}  # to the origin: so there is a copy, and a page
        assert await at.stream("GET", "/edge/asked/s?offset=-1", b"", **known) == 200
        at.origin.status = 401
        for route, name, decides in (
            ("/edge/asked", "s", "/edge/asked"),
            ("/edge", "asked/s", "/edge/asked"),
            ("/open", "s", "/open"),
            ("/edge", "s", "/edge"),
        ):
            status, said = await at.messages(route, name)
            assert (status, said.partition(": ")[2]) == (403, why.format(decides)), said
        query = {"route": "/edge/asked", "name": "s"}
        async with at.console.open("/streams/one", query, VIEWER, Accept="text/html") as page:
            assert why.format("/edge/asked") in await page.text()
        at.origin.status = 404
        assert await at.messages("/open", "s") == (404, "there is no stream at this path")


async def test_many_guarded_streams_are_deleted_and_those_of_an_origin_fail_with_its_reason(
    tmp_path: Path,
) -> None:
    async with guarded(tmp_path) as at:
        known = {"Authorization": "Basic YTpi"}
        assert await at.stream("GET", "/edge/asked/s?offset=-1", b"", **known) == 200
        for name in ("a", "b"):
            wish = {"content_type": "text/plain"}
            assert (await at.console.ask("PUT", "stream", wish, route=PREFIX, name=name))[0] == 200
        at.origin.status = 401
        assert (await _deleted(at, PREFIX))["deleted"] == 2
        refused = await _deleted(at, "/edge/asked")
        assert (refused["deleted"], refused["failed"]) == (0, 1)
        assert "the console has no credentials for it" in refused["trouble"]


async def _deleted(at: Guarded, route: str) -> Any:
    """Delete all streams of a route by the console; return what became of it."""
    path = "streams/deletion"
    _, counted = await at.console.ask("POST", path, {"route": route, "prefix": ""})
    start = {"id": counted["id"], "confirm": counted["streams"]}
    assert (await at.console.ask("POST", f"{path}/start", start))[0] == 200

    async def is_done() -> bool:
        return bool((await at.console.ask("GET", path))[1]["state"] == "done")

    await until(is_done)
    return (await at.console.ask("GET", path))[1]


# ---------------------------------------------------------------- what others take


async def test_exhausted_client_limits_of_127_0_0_1_do_not_lock_out_the_console(
    tmp_path: Path,
) -> None:
    """They have 127.0.0.1, such as a proxy that is not trusted; connections, appends."""
    bounds: dict[str, Any] = {"max_connections": 4, "max_client_appends": 1}
    appended = {"name": "s", "content_type": "", "data": "two"}
    async with guarded(tmp_path, **bounds) as at:
        for prefix in ("/free", PREFIX):
            assert await at.stream("PUT", f"{prefix}/s", b"one", **WRITER) == 201
        appends = [await at.stream("POST", "/free/s", b"x") for _ in range(2)]
        assert appends == [204, 429]
        for route in ("/free", PREFIX):
            wish = {**appended, "route": route}
            assert (await at.console.ask("POST", "stream/append", wish))[0] == 200
        # The console has connections, too: metrics add them.
        limits = at.console.gateway._services.limits
        port = at.console.settings.listen.port
        held = []
        while limits.connections_of.get("127.0.0.1", 0) < 2:
            held.append(await asyncio.open_connection("127.0.0.1", port))
            await held[-1][0].read(0)
            await asyncio.sleep(0)
        refused = await asyncio.to_thread(ask_once, port, "GET", "/free/s?offset=-1")
        assert refused.status == 429
        assert (await at.messages("/free", "s"))[0] == 200
        assert (await at.messages(PREFIX, "s"))[0] == 200
        for _, writer in held:
            writer.close()


def test_the_console_has_no_own_address_where_binding_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert client.own_address("::1") is None
    assert client.own_address("192.0.2.1") is None
    monkeypatch.setattr(
        client, "CONSOLE_ADDRESS", "192.0.2.1"
    )  # as where there is none but 127.0.0.1
    assert client.own_address("127.0.0.1") is None


# ---------------------------------------------------------------- several workers


@pytest.mark.usefixtures("processes")
def test_each_worker_admits_the_console_also_one_started_later(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path / "redis", appendonly="yes") as redis,
        several(redis.url, auth="tokens", tokens_file=str(tokens_file(tmp_path))) as server,
    ):
        path = f"{PREFIX}/a/s"
        made = ask_once(server.port, "PUT", path, b"one", content_type="text/plain", **WRITER)
        assert made.status == 201
        asyncio.run(look_through_all(server))
        first = server.workers()[1]
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: server.workers().get(1, first) != first, "another one comes")
        wait_until(server.is_ready, "it serves")
        asyncio.run(look_through_all(server))


async def look_through_all(server: Several) -> None:
    """Tails at the same time have a connection each: some come to either worker."""
    url = f"{server.admin_url}/api/v1/stream/events"
    query = {"route": PREFIX, "name": "a/s", "offset": "-1"}
    async with ClientSession(timeout=ClientTimeout(total=30)) as http:
        tails = [await http.get(url, params=query) for _ in range(TAILS)]
        for tail in tails:
            assert await next_texts(tail.content) == ["one"]
            tail.close()
