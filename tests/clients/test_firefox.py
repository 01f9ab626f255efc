"""Firefox: silent paths, equal requests of two tabs, and loops behind a service worker."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from headgate.runs import Runs
from headgate.runs.stored import reading
from headgate.streams.client import Client
from tests.client.js.site import Site
from tests.clients.firefox import Reports, firefox
from tests.clients.pages import AROUND, STREAM, client_bundle, examples, page_with, site
from tests.clients.service_workers import ENABLED
from tests.clients.test_equal_requests_of_tabs import SOON_S, both_wait
from tests.clients.test_pages_behind_service_workers import CUT_OFTEN, JSON, PAGES
from tests.support.processes import headgate
from tests.support.silent_relay import SilentRelay
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.usefixtures("processes"),
    pytest.mark.timeout(180),  # a browser starts, and loops wait for seconds
    pytest.mark.asyncio(loop_scope="session"),
]

BEAT_S = 0.2
STALE_MS = 2000
KINDS = ["stream", "run", "chat"]
FOLLOWING = """
  import { followRun, followStream } from "headgate-client";
  import { RunChatTransport } from "/package/chat.js";
  const shown = { stream: [], run: [], chat: [] };
  const states = { stream: [], run: [], chat: [] };
  const ends = [], errors = [], staleAfter = STALE_MS;
  window.report = { shown, states, ends, errors };
  const options = (kind) => ({
    staleAfter,
    onMessage: (message) => shown[kind].push(message),
    onItem: (item) => shown[kind].push(item),
    onClose: () => ends.push(kind),
    onEnd: () => ends.push(kind),
    onState: (state, reason) => states[kind].push([state, reason]),
    onError: ({ message }) => errors.push(message),
  });
  followStream("STREAM", options("stream"));
  followRun("/runs/story", options("run"));
  const chunks = await new RunChatTransport(options("chat")).sendMessages({
    chatId: "tale",
    trigger: "submit-message",
    messages: [{ id: "q", role: "user", parts: [{ type: "text", text: "Tell." }] }],
  });
  for await (const { type, delta } of chunks) {
    if (type === "text-delta") shown.chat.push(Number(delta));
  }
  ends.push("chat");
"""
# The official client does not read in a tab that is hidden.
SEEN = """<script>Object.defineProperty(document, "hidden", { value: false });</script>"""
UNDER_WORKER = f"""
  if (!navigator.serviceWorker.controller) {{
    await ({ENABLED})();
    location.reload();
    await new Promise(() => {{}});
  }}
"""
BARE = """
  const events = new EventSource("http://127.0.0.1:4437/v1/stream/chat?offset=-1&live=sse");
  events.addEventListener("data", ({ data }) => JSON.parse(data).forEach(show));
"""


async def test_firefox_shows_everything_once_on_paths_that_go_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "KEEP_ALIVE_S", BEAT_S)
    async with AsyncExitStack() as stack:
        server = stack.enter_context(
            headgate(environment={"HEADGATE_LIVE__SSE_HEARTBEAT": str(BEAT_S)})
        )
        reports = await stack.enter_async_context(Reports.served())
        hg = await stack.enter_async_context(Client(server.streams))
        runs = Runs(f"{server.streams}/{uuid.uuid4().hex}")
        stack.push_async_callback(runs.aclose, wait=0)
        served = await stack.enter_async_context(Site(runs).served())
        ports = (server.port, served.port)
        live, page = [await stack.enter_async_context(SilentRelay(port)) for port in ports]
        stream = await hg.create(uuid.uuid4().hex, json=True)
        run = await served.start("story")
        behind = stream.url.replace(f":{server.port}/", f":{live.port}/")
        script = FOLLOWING.replace("STREAM", behind).replace("STALE_MS", str(STALE_MS))
        served.script = f"{script}</script>{reports.script('window.report')}<script>"
        url = f"http://127.0.0.1:{page.port}/"
        await stack.enter_async_context(firefox(url))
        await reports.hold(bool, url)
        await until(lambda: "tale" in served.feeds)

        async def give(number: int) -> None:
            await stream.append(number)
            run.give(number)
            served.feeds["tale"].give(f"{number} ")

        def has(count: int) -> Callable[[Any], bool]:
            return lambda it: all(len(it["shown"][kind]) >= count for kind in KINDS)

        await give(1)
        await reports.hold(has(1), url)
        for relay in (live, page):
            relay.silence()
        await give(2)
        await reports.hold(has(2), url)
        await give(3)
        await stream.close()
        for feed in (run, served.feeds["tale"]):
            feed.end()
        await reports.hold(lambda it: sorted(it["ends"]) == sorted(KINDS), url)
        report = reports.newest[url]
        assert report["shown"] == {kind: [1, 2, 3] for kind in KINDS}
        assert report["errors"] == []
        for states in report["states"].values():
            assert ["lost", f"nothing has come for {STALE_MS // 1000} s"] in states


async def test_two_tabs_of_firefox_with_the_documented_long_poll_both_wait_at_the_server(
    tmp_path: Path,
) -> None:
    (example,) = (it for it in examples("docs/browsers.md") if 'live: "long-poll"' in it)
    imports = '{"imports": {"@durable-streams/client": "/client.js"}}'
    bundle = client_bundle(tmp_path)

    async def script(_: web.Request) -> web.FileResponse:
        return web.FileResponse(bundle)

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html")

    application = web.Application()
    application.add_routes([web.get("/client.js", script), web.get("/{tab}", page)])
    with headgate() as server:
        stream = f"{server.streams}/s"
        async with (
            httpx.AsyncClient() as http,
            Reports.served() as reports,
            TestServer(application, host="127.0.0.1") as served,
        ):
            html = f"""{AROUND}{SEEN}<script type="importmap">{imports}</script>
                <script type="module">{STREAM.sub(stream, example)}</script>
                {reports.script("shown")}"""
            tabs = [str(served.make_url(f"/{name}")) for name in ("one", "two")]
            await http.put(stream, headers=JSON, content=b'["one"]')
            async with firefox(*tabs):
                await reports.hold(lambda it: it == ["one"], *tabs)
                await until(lambda: both_wait(http, server), within_s=SOON_S)
                await http.post(stream, headers=JSON, content=b'["two"]')
                await reports.hold(lambda it: it == ["one", "two"], *tabs)


async def test_loops_in_firefox_behind_a_service_worker_show_each_message_once_after_a_restart(
    tmp_path: Path,
) -> None:
    codes = [next(it for it in examples(page) if "live=sse" in it) for page in PAGES]
    with headgate(f"file:{tmp_path}", environment=CUT_OFTEN) as server:
        stream = f"{server.streams}/s"
        async with httpx.AsyncClient() as http, Reports.served() as reports:
            report = reports.script("({ shown, connected, state: opened.at(-1)?.readyState })")
            pages = {
                f"tab{index}": page_with(f"{UNDER_WORKER}{STREAM.sub(stream, code)}") + report
                for index, code in enumerate([*codes, BARE])
            }
            await http.put(stream, headers=JSON)
            await http.post(stream, headers=JSON, content=b'["one"]')
            async with site(**pages) as url:
                *loops, bare = tabs = [f"{url}/{name}" for name in pages]
                async with firefox(*tabs):
                    await reports.hold(lambda it: it["connected"] >= 2, *tabs)
                    server.kill()
                    # By itself, Firefox tries no more once a connection was refused.
                    await reports.hold(lambda it: it["state"] == 2, bare)
                    await asyncio.to_thread(server.start)
                    await http.post(stream, headers=JSON, content=b'["two"]')
                    await reports.hold(lambda it: len(it["shown"]) >= 2, *loops)
                    assert [reports.newest[tab]["shown"] for tab in loops] == 3 * [["one", "two"]]
                    bare_report = reports.newest[bare]
                    assert (bare_report["shown"], bare_report["state"]) == (["one"], 2)
