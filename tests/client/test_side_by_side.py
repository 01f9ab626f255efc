"""The six tasks of the page that sets libraries side by side, done by its programs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import headgate.sync
from tests.client.runs.recordings import message, response
from tests.support.ports import accepts, free_port
from tests.support.processes import ROOT
from tests.support.processes import headgate as headgate_server
from tests.support.redis_servers import redis_server
from tests.support.waiting import until, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

PAGE = ROOT / "docs/client/side-by-side.md"
PRINTED = "http://127.0.0.1:4437/v1/stream"
TASKS = ["Append JSON", "Follow and resume", "Tokens to two tabs", "Stop it"]
TASKS += ["Upload 10,000 messages", "Wait for work"]


def programs() -> dict[tuple[int, str], str]:
    """Return the programs of the page by the number of their task and the library."""
    found = {}
    for number, section in enumerate(PAGE.read_text().split("\n## ")[1:]):
        for each in re.finditer(r"^With ([a-z-]+).*?```\w+\n(.*?)```", section, re.M | re.S):
            found[number, each[1]] = each[2]
    return found


PROGRAMS = programs()


def test_the_table_has_the_lines_and_names_of_each_program() -> None:
    table, task = {}, -1
    for row in re.findall(r"^\|(.*)\|$", PAGE.read_text().split("\n## ")[0], re.M)[2:]:
        title, library, lines, names, _ = (cell.strip() for cell in row.split("|"))
        if title:
            task += 1
            assert title.startswith(f"[{TASKS[task]}](")
        if lines != "–":
            table[task, library] = (int(lines), re.findall(r"`(\w+)`", names))
    assert set(table) == set(PROGRAMS)
    for key, (lines, names) in table.items():
        program = re.sub(r"^from (collections\.abc|openai\.types).*", "", PROGRAMS[key], flags=re.M)
        assert lines == sum(1 for line in program.splitlines() if line.strip()), key
        assert all(name in PROGRAMS[key] for name in names), key
    shortest = {task: min(table[key][0] for key in table if key[0] == task) for task in range(6)}
    assert all(table[task, "headgate"][0] == shortest[task] for task in range(6))


@pytest.fixture
def server(processes: None) -> Iterator[str]:
    with headgate_server() as server:
        yield server.streams


def environment(streams: str, model: str = "", **more: str) -> dict[str, str]:
    given = {"STREAM_URL": streams, "OPENAI_BASE_URL": model, "OPENAI_API_KEY": "sk-none"}
    return {**os.environ, **given, **more}


def command(key: tuple[int, str], streams: str) -> list[str]:
    return [sys.executable, "-c", PROGRAMS[key].replace(PRINTED, streams)]


@contextlib.contextmanager
def started(
    command: list[str], folder: Path, given: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed at the end."""
    output = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=given, stdout=output, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("library", ["headgate", "durable-streams"])
@pytest.mark.parametrize(("task", "stream"), [(0, "payments"), (4, "numbers")])
def test_json_is_appended(server: str, library: str, task: int, stream: str) -> None:
    count = 10_000 if library == "headgate" else 10  # a request each
    python, option, program = command((task, library), server)
    program = program.replace("10_000", f"{count}")
    subprocess.run([python, option, program], check=True, env=environment(server))
    with headgate.sync.Client(server) as hg:
        found = [each.value for each in hg.stream(stream).read()]
    assert found == ([{"number": each} for each in range(count)] if task else [{"id": 1}])


def until_it_has(place: Path, offset: str | None) -> None:
    wait_until(lambda: place.exists() and place.read_text() == offset)


@pytest.mark.parametrize("library", ["headgate", "durable-streams"])
def test_json_is_followed_and_resumed_after_a_restart(
    server: str, library: str, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    with headgate.sync.Client(server) as hg:
        payments = hg.create("payments", json=True)
        for number in range(2):
            then = payments.append({"id": number})
            with started(command((1, library), server), tmp_path, environment(server)) as follower:
                assert first_line(follower) == f"{{'id': {number}}}\n"
                until_it_has(place, then)


def test_work_is_waited_for(server: str, tmp_path: Path) -> None:
    wake = {"type": "pull-wake", "pattern": "shop/*", "wake_stream": "wake/confirmations"}
    with headgate.sync.Client(server) as hg:
        hg.create("wake/confirmations", json=True)
        httpx.put(f"{server}/__ds/subscriptions/confirmations", json=wake).raise_for_status()
        hg.create("shop/anna", json=True).append({"item": "tea"})
    with started(command((5, "headgate"), server), tmp_path, environment(server)) as worker:
        assert first_line(worker) == "{'item': 'tea'}\n"


class Provider:
    """A server of OpenAI's responses: two words, and the rest once it is released."""

    def __init__(self) -> None:
        self.released, self.given_up = asyncio.Event(), asyncio.Event()
        answer = response(message("Once ", "upon ", "a ", "time")).decode()
        self.events = answer.split("\n\n")[:-1]
        application = web.Application()
        application.router.add_post("/responses", self.follow)
        application.router.add_get("/responses/{id}", self.follow)
        application.router.add_post("/responses/{id}/cancel", self.cancel)
        self.server = TestServer(application)

    async def follow(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for event in self.events[int(request.query.get("starting_after", -1)) + 1 :]:
                if '"delta": "a "' in event:
                    await self.released.wait()
                await response.write(f"{event}\n\n".encode())
        except (ConnectionError, asyncio.CancelledError):
            self.given_up.set()
            raise
        return response

    async def cancel(self, _: web.Request) -> web.Response:
        self.given_up.set()
        whole = json.loads(self.events[-1].split("data: ")[1])["response"]
        return web.json_response({**whole, "status": "cancelled"})


# What Next.js does with a module of routes.
SERVED = """
import { createServer } from "node:http"
import * as route from "./route.mjs"
createServer(async (asked, answer) => {
  const url = new URL(asked.url, "http://127.0.0.1")
  const params = Promise.resolve({ id: url.pathname.split("/").at(-1) })
  const response = await route[asked.method](new Request(url, { method: asked.method }), { params })
  answer.writeHead(response.status)
  for await (const chunk of response.body ?? []) answer.write(chunk)
  answer.end()
}).listen(Number(process.argv[2]), "127.0.0.1")
"""


@contextlib.contextmanager
def application(library: str, streams: str, folder: Path, given: dict[str, str]) -> Iterator[str]:
    """The URL of the program with routes, and with a way to stop where the library has one."""
    port = free_port()
    if library == "resumable-stream":
        (folder / "route.mjs").write_text(PROGRAMS[2, library])
        (folder / "served.mjs").write_text(SERVED)
        (folder / "node_modules").symlink_to(ROOT / "tests/node/node_modules")
        command = ["node", "served.mjs", f"{port}"]
    else:
        program = PROGRAMS[2, library] + "\n\n" + PROGRAMS[3, library]
        (folder / "app.py").write_text(program.replace(PRINTED, streams))
        command = [sys.executable, "-m", "uvicorn", "app:app", "--port", f"{port}"]
    with started(command, folder, given):
        wait_until(lambda: accepts(port))
        yield f"http://127.0.0.1:{port}"


class Tab:
    """What one of several readers of an answer has got."""

    def __init__(self, browser: httpx.AsyncClient, method: str, url: str) -> None:
        self.text = ""
        self.request = browser.stream(method, url)
        self.task = asyncio.create_task(self.read())

    async def read(self) -> None:
        async with self.request as response:
            assert response.is_success, await response.aread()
            async for part in response.aiter_text():
                self.text += part

    async def has(self, word: str) -> None:
        await until(lambda: word in self.text or self.task.done())
        assert word in self.text, self.task.exception()


@contextlib.asynccontextmanager
async def two_tabs(
    library: str, streams: str, folder: Path, redis: str = ""
) -> AsyncIterator[tuple[Provider, httpx.AsyncClient, str, list[Tab]]]:
    """The provider, the browser, the URL of the answer, and two tabs that follow it."""
    provider = Provider()
    async with provider.server, httpx.AsyncClient(timeout=30) as browser:
        given = environment(streams, f"{provider.server.make_url('/')}", REDIS_URL=redis)
        with application(library, streams, folder, given) as url:
            answer = again = f"{url}/answers/resp_1"
            if library == "durable-streams":
                asked = await browser.post(f"{answer}?question=why")
                again = f"{asked.json()['url']}?offset=-1&live=sse"
                first = Tab(browser, "GET", again)
            else:
                asks = f"{url}/answers" if library == "openai" else answer
                first = Tab(browser, "POST", f"{asks}?question=why")
            await first.has("upon")
            second = Tab(browser, "GET", again)
            await second.has("upon")
            yield provider, browser, answer, [first, second]
            for tab in (first, second):
                tab.task.cancel()


@pytest.mark.parametrize("library", sorted(name for task, name in PROGRAMS if task == 2))
async def test_two_tabs_follow_the_tokens_of_a_model(
    library: str, server: str, tmp_path: Path
) -> None:
    redis = redis_server(tmp_path) if library == "resumable-stream" else None
    with redis or contextlib.nullcontext() as server_of_redis:
        url = "" if server_of_redis is None else server_of_redis.url
        async with two_tabs(library, server, tmp_path, url) as (provider, _, _, tabs):
            assert not any("time" in tab.text for tab in tabs)
            provider.released.set()
            for tab in tabs:
                await tab.has("time")


@pytest.mark.parametrize("library", sorted(name for task, name in PROGRAMS if task == 3))
async def test_an_answer_is_stopped(library: str, server: str, tmp_path: Path) -> None:
    async with two_tabs(library, server, tmp_path) as (provider, browser, answer, _):
        stopped = await browser.delete(answer)
        assert stopped.json() == {"stopped": True}
        await asyncio.wait_for(provider.given_up.wait(), 10)
