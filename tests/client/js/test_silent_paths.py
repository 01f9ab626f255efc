"""Paths that keep a connection of the npm package and carry nothing, or only what has ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from headgate.runs.stored import reading
from headgate.streams.client import Client
from tests.client.js.site import Tab, following
from tests.support.processes import NODE, headgate
from tests.support.silent_relay import SilentRelay
from tests.support.unmodified_clients import SCRIPTS
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import BrowserContext

    from headgate import Stream
    from tests.client.js.site import Site
    from tests.support.processes import Headgate

STORY = "/runs/story"
BEAT_S = 0.2
STALE_MS = 1000  # the least that is taken
SILENT = ["lost", "nothing has come for 1 s"]
ONCE_LOST = [["connecting"], ["live"], SILENT, ["connecting"], ["live"]]
# So fast goes the clock of a page that measures 10 s, which are one then.
FASTER = """
    const now = performance.now.bind(performance);
    performance.now = () => 10 * now();
"""
HELD_S = 1.5  # longer than those

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("processes")]


@pytest.fixture(scope="module")
def beating(processes: None) -> Iterator[Headgate]:
    """A Headgate that writes to a silent connection more often than a page counts it as lost."""
    with headgate(environment={"HEADGATE_LIVE__SSE_HEARTBEAT": str(BEAT_S)}) as started:
        yield started


@pytest.fixture(autouse=True)
def _beating_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "KEEP_ALIVE_S", BEAT_S)


@contextlib.asynccontextmanager
async def stream_behind(
    server: Headgate, port: int, **options: Any
) -> AsyncIterator[tuple[Stream, str]]:
    """Make a stream; give it, and its URL at another port."""
    async with Client(server.streams) as hg:
        stream = await hg.create(uuid.uuid4().hex, **options)
        yield stream, stream.url.replace(f":{server.port}/", f":{port}/")


@contextlib.asynccontextmanager
async def relayed(
    server: Headgate, site: Site, kind: str
) -> AsyncIterator[tuple[SilentRelay, Stream, str]]:
    """Put a relay before the server of a stream, or of a run; give the URL of either behind it."""
    async with (
        SilentRelay(server.port if kind == "stream" else site.port) as relay,
        stream_behind(server, relay.port, json=True) as (stream, url),
    ):
        if kind == "run":
            site.url, url = f"http://127.0.0.1:{relay.port}/", STORY
        yield relay, stream, url


async def was_lost_and_is_live(tab: Tab) -> None:
    """Wait until a page is live again: the browser may have kept other silent connections."""
    await tab.page.wait_for_function("states.length > 4 && states.at(-1)[0] === 'live'", polling=20)
    states = await tab.page.evaluate("states")
    assert states[:3] == ONCE_LOST[:3]
    assert states[2:-2] == [SILENT, ["connecting"]] * (len(states[2:-2]) // 2) + [SILENT]
    assert states[-2:] == ONCE_LOST[3:]


@pytest.mark.parametrize("kind", ["stream", "run"])
async def test_all_tabs_on_a_path_that_goes_silent_get_the_rest_once_and_know_the_state(
    beating: Headgate, site: Site, tabs: BrowserContext, kind: str
) -> None:
    async with relayed(beating, site, kind) as (relay, stream, url):
        feed = await site.start("story", 1)
        await stream.append(1)
        script = following(url, staleAfter=STALE_MS)
        opened = [await Tab.open(tabs, site, script) for _ in range(2)]
        for tab in opened:
            await tab.has([1])
            await tab.has(ONCE_LOST[:2], "states")
        relay.silence()
        for number in (2, 3):
            await stream.append(number)
            feed.give(number)
        for tab in opened:
            await tab.has([1, 2, 3])
            await was_lost_and_is_live(tab)
        await stream.close()
        feed.end()
        for tab in opened:
            await tab.has(
                ["closed" if kind == "stream" else {"status": "finished", "error": None}], "ends"
            )
            assert await tab.page.evaluate("[items, refusals]") == [[1, 2, 3], []]


@pytest.mark.parametrize("kind", ["stream", "run"])
async def test_a_connection_on_which_only_comments_come_is_not_opened_anew(
    beating: Headgate, site: Site, tabs: BrowserContext, kind: str
) -> None:
    async with relayed(beating, site, kind) as (relay, stream, url):
        await site.start("story", 1)
        await stream.append(1)
        tab = await Tab.open(tabs, site, following(url, staleAfter=STALE_MS))
        await tab.has([1])
        accepted, pieces = relay.accepted, relay.pieces
        await until(lambda: relay.pieces > pieces + 2 * STALE_MS / 1000 / BEAT_S)
        assert relay.accepted == accepted
        await tab.has(ONCE_LOST[:2], "states")


async def test_a_page_whose_first_connection_brings_no_head_opens_another_one(
    beating: Headgate, site: Site, tabs: BrowserContext
) -> None:
    async with (
        SilentRelay(beating.port) as relay,
        stream_behind(beating, relay.port, json=True) as (stream, url),
    ):
        await stream.append(1)
        relay.swallows = True
        tab = await Tab.open(tabs, site, following(url, staleAfter=STALE_MS))
        await until(lambda: relay.accepted > 0)
        relay.swallows = False
        await tab.has([1])
        await tab.has([["connecting"], SILENT, ["connecting"], ["live"]], "states")


async def test_a_response_that_does_not_begin_right_after_a_silence_is_soon_given_up(
    beating: Headgate, site: Site, tabs: BrowserContext
) -> None:
    async with (
        SilentRelay(beating.port) as relay,
        stream_behind(beating, relay.port, json=True) as (stream, url),
    ):
        await stream.append(1)
        tab = await Tab.open(tabs, site, "")
        await tab.page.clock.install()
        site.script = following(url)
        await tab.page.goto(site.url)
        await tab.has([1])
        relay.silence()
        relay.swallows = True
        await stream.append(2)
        accepted = relay.accepted
        await tab.page.clock.fast_forward(91_000)
        await tab.page.clock.fast_forward(1_000)  # until the next attempt
        await until(lambda: relay.accepted > accepted)
        relay.swallows = False
        await tab.page.clock.fast_forward(2_500)
        await tab.page.clock.fast_forward(1_500)
        await tab.has([1, 2])
        states = await tab.page.evaluate("states")
        reasons = [reason for _, *reasons in states for reason in reasons]
        # The browser may have kept another connection, which is silent as well.
        waits = [f"nothing has come for {seconds} s" for seconds in (90, 2, 4, 8)]
        assert len(reasons) > 1
        assert reasons == waits[: len(reasons)]


class HoldingPath:
    """A proxy that sends each response when it has the whole of it."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.asked: list[str] = []  # kinds of live reads

    def has_asked(self, count: int) -> bool:
        """Return whether there were so many live reads."""
        return len(self.asked) >= count

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[int]:
        """Serve it while the block runs, at the port that it gives."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        async with (
            ClientSession(auto_decompress=False) as self._http,
            TestServer(app, host="127.0.0.1") as server,
        ):
            yield server.port or 0

    async def _pass_on(self, request: web.Request) -> web.Response:
        self.asked += request.query.getall("live", [])
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        async with self._http.request(
            request.method, f"{self._target}{request.path_qs}", headers=headers
        ) as answer:
            dropped = {"Transfer-Encoding", "Content-Length", "Connection", "Date", "Server"}
            passed = [
                (name, value) for name, value in answer.headers.items() if name not in dropped
            ]
            body = await answer.read()
            return web.Response(status=answer.status, headers=passed, body=body)


@pytest.fixture(scope="module")
def short(processes: None) -> Iterator[Headgate]:
    """A Headgate whose SSE responses end soon."""
    with headgate(environment={"HEADGATE_LIVE__SSE_MAX_AGE": str(HELD_S)}) as started:
        yield started


HELD: dict[str, tuple[dict[str, Any], list[Any], list[Any]]] = {
    "json": ({"json": True}, [{"a": 1}, [2], None], [{"a": 1}, [2], None]),
    "text": ({}, ["Once ☕", b"\xe2\x98", b"\x95 upon\r\n"], ["Once ☕", "☕ upon\r\n"]),
    "bytes": ({"content_type": "image/png"}, [b"\x00\xff", b"\x01" * 9000], [[0, 255], [1] * 9000]),
}


@pytest.mark.parametrize("kind", HELD)
async def test_a_page_goes_on_by_long_polls_where_a_path_has_held_sse_until_its_end_twice(
    short: Headgate, site: Site, tabs: BrowserContext, kind: str
) -> None:
    options, appended, shown = HELD[kind]
    path = HoldingPath(short.url)
    async with (
        path.served() as port,
        stream_behind(short, port, **options) as (stream, url),
    ):
        script = following(url, staleAfter=60_000)
        tab = await Tab.open(tabs, site, script, before=FASTER)
        await until(partial(path.has_asked, 3))
        assert path.asked == ["sse", "sse", "long-poll"]
        for message in appended:
            next_poll = partial(path.has_asked, len(path.asked) + 1)
            await stream.append(message)
            await until(next_poll)
        await tab.has(shown)
        await stream.close()
        await tab.has(["closed"], "ends")
        assert await tab.page.evaluate("[items, refusals]") == [shown, []]
        assert path.asked.count("sse") == 2


async def test_a_path_that_holds_nothing_is_read_by_sse_for_good(
    short: Headgate, site: Site, tabs: BrowserContext
) -> None:
    async with stream_behind(short, short.port, json=True) as (stream, url):
        tab = await Tab.open(tabs, site, following(url), before=FASTER)
        await tab.page.evaluate("received('states', 6)")  # three connections
        await stream.append(1)
        await tab.has([1])
        asked = await tab.page.evaluate(
            "performance.getEntriesByType('resource').map((it) => it.name)"
        )
        assert not any("long-poll" in one for one in asked)


REFUSED = ["0", "-1", "NaN", "Infinity", "90", "2 ** 31", "'90000'", "null"]
CALLS = {
    "followStream": "followStream('/s', { onMessage() {}, staleAfter: VALUE })",
    "followRun": "followRun('/r', { onItem() {}, staleAfter: VALUE })",
    "chat": "new RunChatTransport({ staleAfter: VALUE })",
}


@pytest.mark.parametrize("value", REFUSED)
@pytest.mark.parametrize("call", CALLS)
async def test_an_invalid_stale_after_is_refused_with_its_bounds(
    site: Site, tabs: BrowserContext, call: str, value: str
) -> None:
    script = f"""
      import {{ followRun, followStream }} from "headgate-client";
      import {{ RunChatTransport }} from "/package/chat.js";
      try {{ {CALLS[call].replace("VALUE", value)} }}
      catch (error) {{ document.body.append(error); }}
    """
    tab = await Tab.open(tabs, site, script)
    shown = await tab.page.evaluate(f"String({value})")
    await tab.shows(
        "RangeError: staleAfter is a time in milliseconds, from 1000 to 2147483647, such as 90000, "
        f"and not {shown}"
    )


class Following:
    """A script in Node.js that follows something, and prints what comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, kind: str, url: str) -> AsyncIterator[Following]:
        """Run it while the block runs."""
        process = await asyncio.create_subprocess_exec(
            *(NODE, SCRIPTS / "silent_paths.mjs", kind, url, str(STALE_MS)),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield cls(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def prints(self, *lines: object) -> None:
        """Wait until these are the next lines."""
        assert self._process.stdout is not None, "it is a pipe"
        for line in lines:
            assert json.loads(await self._process.stdout.readline()) == line


LOST_AND_BACK = [{"state": state} for state in ONCE_LOST[2:]]


@pytest.mark.parametrize("kind", ["stream", "run", "chat"])
async def test_node_continues_on_a_path_that_goes_silent(
    beating: Headgate, site: Site, kind: str
) -> None:
    first, second = ("one ", "two") if kind == "chat" else (1, 2)
    async with (
        SilentRelay(beating.port if kind == "stream" else site.port) as relay,
        stream_behind(beating, relay.port, json=True) as (stream, url),
    ):
        if kind != "stream":
            url = f"http://127.0.0.1:{relay.port}{STORY if kind == 'run' else '/api/chat'}"
        feed = await site.start("story", 1)
        await stream.append(1)
        async with Following.started(kind, url) as following:
            await following.prints({"state": ["connecting"]}, {"state": ["live"]})
            if kind == "chat":
                feed = site.feeds["tale"]
                feed.give(first)
            await following.prints({"item": first})
            relay.silence()
            await stream.append(2)
            feed.give(second)
            await following.prints(*LOST_AND_BACK, {"item": second})
            await stream.close()
            feed.end()
            await following.prints({"end": True})


async def test_the_answer_to_a_question_whose_response_never_comes_is_read_by_another_request(
    site: Site,
) -> None:
    async with SilentRelay(site.port) as relay:
        relay.swallows = True
        url = f"http://127.0.0.1:{relay.port}/api/chat"
        async with Following.started("chat", url) as following:
            await following.prints({"state": ["connecting"]})
            await until(lambda: "tale" in site.feeds)
            relay.swallows = False
            await following.prints(*LOST_AND_BACK)
            site.feeds["tale"].give("one ")
            await following.prints({"item": "one "})
            site.feeds["tale"].end()
            await following.prints({"end": True})
