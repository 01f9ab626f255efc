"""Clients that ask for random answers while gateways are killed, stopped and paused."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import aiohttp

from tests.models.histories import readers
from tests.models.histories.judge import call_of, judge, read_all
from tests.models.histories.messages import END, events_of
from tests.models.histories.plans import DIALECTS
from tests.models.histories.views import judge_views
from tests.models.histories.world import BROKEN, LONGEST_S, OWNERS, PROMPT, Answer, World
from tests.support.given_settings import variables
from tests.support.ports import accepts, free_port
from tests.support.processes import ROOT, Headgate
from tests.support.redis_servers import RedisServer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.models.histories.messages import Event

    Client: TypeAlias = Callable[[], Awaitable[Any]]

AT_ONCE = 6


@contextlib.contextmanager
def provider_process() -> Iterator[str]:
    """Start the provider, and return its URL."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.models.histories.provider", str(port)], cwd=ROOT
    )
    try:
        wait_until(lambda: accepts(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def gateways(log: str, provider: str, folder: Path) -> Iterator[list[Headgate]]:
    """Start one gateway, or two before a Redis."""
    common = {"upstream": provider, "streams": "/v1/stream/answers", "read_timeout": 5}
    models = [
        {"prefix": "/openai", "dialect": "openai", **common},
        {"prefix": "/anthropic", "dialect": "anthropic", **common},
    ]
    environment = {
        **variables({"models": models}),
        "HEADGATE_SHUTDOWN__GRACE": "1",
        "HEADGATE_LOG__REQUESTS": "info",
    }
    with contextlib.ExitStack() as stack:
        origin = "memory:" if log == "memory" else f"file:{folder / 'data'}"
        if log == "redis":
            server = RedisServer(folder / "redis", options={"appendonly": "yes"})
            server.start()
            stack.callback(server.kill)
            origin = f"redis://127.0.0.1:{server.port}"
        found = []
        for _ in range(2 if log == "redis" else 1):
            gateway = Headgate(origin, environment=environment)
            stack.callback(gateway.close)
            found.append(gateway.start())
        yield found


async def disturb(
    world: World, servers: list[Headgate], log: str, longest_s: float, is_over: asyncio.Event
) -> None:
    """Kill, stop and pause gateways, after at most so long each time; leave all of them running."""
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(world.rng.uniform(1, longest_s)):
                await is_over.wait()
                return
        server = world.rng.choice(servers)
        kinds = ["pause"] if log == "memory" else ["kill", "kill", "term", "pause", "pause"]
        kind = world.rng.choice([*kinds, "freeze"] if log == "redis" else kinds)
        world.counts[kind] += 1
        if kind in ("pause", "freeze"):
            if kind == "freeze":
                world.faults.append(time.monotonic())
            assert server.process is not None
            server.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(world.rng.uniform(0.1, 1.2) if kind == "pause" else 5)
            server.process.send_signal(signal.SIGCONT)
        else:
            world.faults.append(time.monotonic())
            if kind == "kill":
                await asyncio.to_thread(server.kill)
            else:
                await asyncio.to_thread(server.terminate)
            world.faults.append(time.monotonic())
            await asyncio.sleep(world.rng.choice((0, 0, 1, 4)))
            await asyncio.to_thread(server.start)
        world.faults.append(time.monotonic()) if kind != "pause" else None


async def play(world: World, answer: Answer, provider: str) -> None:
    """Ask for one answer by several clients, and judge what they got."""
    answer.began = time.monotonic()
    results = await _results(world, answer, _clients(world, answer))
    async with world.session.get(f"{provider}/calls") as response:
        calls = await response.json()
    starts = calls["starts"].get(answer.name, [])
    try:
        if answer.is_stopped:
            judge_stopped(world, answer, results, starts)
        elif any(name.startswith("join") for name in results):
            await judge(world, answer, results, calls)
            judge_views(world, answer, results, starts)
    except Exception as error:  # noqa: BLE001 - what a judge cannot read is wrong as well
        world.report(f"{answer.name}: the judge: {error!r}")
    world.counts["answers"] += 1
    world.counts["readers"] += len(results)


def _clients(world: World, answer: Answer) -> dict[str, Client]:
    """Return some of all kinds of clients; the first one begins the answer."""
    rng = world.rng
    clients: dict[str, Client] = {
        f"join {number}": partial(readers.join, world, answer)
        for number in range(rng.randrange(1, 4))
    }
    if not answer.stream and not answer.is_stopped:
        others: dict[str, Client] = {
            "poll": partial(readers.poll, world, answer, ""),
            "sse": partial(readers.follow, world, answer, ""),
            "view sse": partial(readers.view, world, answer, "sse"),
            "view ai-sdk": partial(readers.view, world, answer, "ai-sdk"),
            "view ag-ui": partial(readers.view, world, answer, "ag-ui"),
            "view text": partial(readers.view_text, world, answer),
        }
        clients |= {name: others[name] for name in rng.sample(sorted(others), rng.randrange(4))}
    if answer.is_stopped:
        clients["stop"] = partial(stop, world, answer)
    return clients


async def _results(world: World, answer: Answer, clients: dict[str, Client]) -> dict[str, Any]:
    """Return what each client got that has come to an end."""
    tasks = {
        name: asyncio.create_task(later(world.rng.uniform(0, 1.5) * (number > 0), client))
        for number, (name, client) in enumerate(clients.items())
    }
    results: dict[str, Any] = {}
    for name, task in tasks.items():
        try:
            results[name] = await task
        except TimeoutError:
            world.report(f"{answer.name}: {name} had no end in {LONGEST_S} s")
        except Exception as error:  # noqa: BLE001 - what a client cannot read is wrong as well
            world.report(f"{answer.name}: {name}: {error!r}")
    return results


async def later(pause_s: float, client: Client) -> Any:
    """Begin after a pause."""
    await asyncio.sleep(pause_s)
    return await client()


async def stop(world: World, answer: Answer) -> list[Event]:
    """Delete the stream, or cancel the response."""
    await answer.is_known.wait()
    await asyncio.sleep(world.rng.random())
    with contextlib.suppress(*BROKEN):
        if answer.response_id and world.rng.random() < 0.7:
            url = f"{world.base()}/openai/v1/responses/{answer.response_id}/cancel"
            async with world.session.post(url, headers=answer.credential) as response:
                body = await response.read()
                if response.status not in (200, 502, 503):
                    world.report(f"{answer.name}: cancel: {response.status} {body!r}")
        else:
            async with world.session.delete(world.base() + answer.path) as response:
                if response.status not in (200, 204, 404, 502, 503):
                    world.report(f"{answer.name}: delete: {response.status}")
    return []


def judge_stopped(world: World, answer: Answer, results: dict[str, Any], starts: list[int]) -> None:
    """Report a client of a deleted answer that got what no call has."""
    for name, events in results.items():
        if name.startswith("join") and call_of(answer, events, starts) is None:
            # The stream may have gone between two tries: the rest is then of another call.
            world.counts["mixed"] += 1


async def chat(world: World, name: str, answers: list[Answer], provider: str) -> None:
    """Play the answers of a chat one after the other, and compare its stream with them."""
    for answer in answers:
        await play(world, answer, provider)
    raw = await read_all(world, answers[0].path)
    ends = sum(event == END for event, _ in events_of(raw))
    if ends != len(answers) and not world.is_disturbed(answers[0].began):
        world.report(f"{name}: {ends} ends of {len(answers)} answers")
    stranger = next(one for one in OWNERS if one != answers[0].owner)
    other = Answer(answers[0].dialect, 1, stranger, f"other-{name}", name)
    with contextlib.suppress(*BROKEN):
        async with world.session.post(
            world.base() + other.target, data=other.body, headers=other.headers
        ) as response:
            if response.status not in (403, 502, 503):
                world.report(f"{name}: {response.status} for another owner")


async def worker(world: World, number: int, provider: str, until_s: float) -> None:
    """Play answers until the time is over."""
    turn = 0
    while time.monotonic() < until_s:
        turn += 1
        dialect = world.rng.choice(DIALECTS)
        seed = world.rng.randrange(1 << 30)
        key = f"{dialect}-{number}-{turn}"
        if world.rng.random() < 0.2:
            owner = world.rng.choice(OWNERS)
            answers = [
                Answer(dialect, seed + one, owner, f"{key}.{one}", f"chat-{key}")
                for one in range(3)
            ]
            await chat(world, f"chat-{key}", answers, provider)
            continue
        stopped = world.rng.random() < 0.15
        both = [
            Answer(dialect, seed + at, owner, key, None, is_stopped=stopped)
            for at, owner in enumerate(OWNERS)
        ]
        await asyncio.gather(*(play(world, answer, provider) for answer in both))


def search_secrets(world: World, servers: list[Headgate], folder: Path) -> None:
    """Report keys and prompts in logs, metrics and files, and tracebacks in logs."""
    written = "".join(server.output() for server in servers)
    texts = {"the log": written, **{str(path): _text(path) for path in folder.rglob("*")}}
    for server in servers:
        with urllib.request.urlopen(f"{server.admin_url}/metrics", timeout=10) as answer:
            texts[server.admin_url] = answer.read().decode()
    for name, text in texts.items():
        for secret in (*OWNERS, PROMPT):
            if secret in text:
                world.report(f"{secret} is in {name}")
    for word in ("Traceback", "internal_error", "request.failed"):
        at = written.find(word)
        if at >= 0:
            world.report(f"the log has: {written[max(0, at - 500) : at + 2000]}")


def _text(path: Path) -> str:
    return path.read_bytes().decode("latin-1") if path.is_file() else ""


async def campaign(log: str, seconds: float, seed: int, folder: Path) -> list[str]:
    """Play one history, and return what was wrong in it."""
    with provider_process() as provider, gateways(log, provider, folder) as servers:
        connector = aiohttp.TCPConnector(limit=0, force_close=False)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=True) as session:
            world = World([server.url for server in servers], session, random.Random(seed))
            is_over = asyncio.Event()
            chaos = asyncio.create_task(disturb(world, servers, log, min(12, 2 * seconds), is_over))
            until_s = time.monotonic() + seconds
            await asyncio.gather(
                *(worker(world, number, provider, until_s) for number in range(AT_ONCE))
            )
            is_over.set()
            await chaos
        search_secrets(world, servers, folder)
        counts = dict(world.counts)
        sys.stdout.write(f"{log}, seed {seed}: {counts}, {len(world.wrong)} wrong\n")
        if world.wrong and (kept := os.environ.get("HISTORIES_LOGS")):
            for at, server in enumerate(servers):
                Path(kept, f"{log}-{seed}-{at}.log").write_text(server.output())
        return world.wrong
