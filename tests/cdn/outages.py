"""A gateway that goes away and comes back, with every configuration in front of it at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from headgate_cdn.rules import RULES
from headgate_gateway.settings import load
from tests.cdn.candidates import Candidate
from tests.cdn.origin import STREAMS
from tests.clients.pages import chromium, site
from tests.clients.token_writer import close_stream, create_stream
from tests.support.given_settings import variables
from tests.support.ports import free_port
from tests.support.processes import Headgate
from tests.support.proxy_engines import ENGINES, started
from tests.support.unmodified_clients import read_with_python, read_with_typescript
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.clients.behind_proxies import Read
    from tests.support.http1 import Answer
    from tests.support.unmodified_clients import Mode

    Client = tuple[str, Read, Mode]  # at which target
    Told = Callable[[], Awaitable[dict[str, dict[str, Any]]]]

TEXT = "text/plain"
PAUSE_S = 0.05  # between two appends
FEW = 10  # appends, to see that all goes on
MOST_TRIES = 60
_NUMBERS = itertools.count()
# What the standard has an EventSource send.
EVENT_SOURCE: Mapping[str, str] = {"Accept": "text/event-stream", "Cache_Control": "no-cache"}
EVERY: Sequence[tuple[Read, Mode]] = (
    (read_with_typescript, "sse"),
    (read_with_typescript, "long-poll"),
    (read_with_python, "sse"),
    (read_with_python, "long-poll"),
)
WAITS = {str(seconds) for seconds in range(RULES.again_s, RULES.again_most_s + 1)}
"""What Retry-After may say while the gateway is away."""
HOLDING = frozenset({"nginx-njs", "haproxy", "caddy", "cloudflare-worker", "cloudflare-durable"})
"""Those that hold a request for events until the gateway is back."""


def assert_away(answer: Answer, who: str) -> None:
    """Assert that a page can read this error, and when to come back."""
    assert answer.status in {502, 503, 504}, (who, answer)
    if "traefik/" in (answer.get("Headgate-Config") or ""):
        return  # it has no response of its own but the status, as its page says
    assert answer.get("Cache-Control") == "no-store", (who, answer)
    assert answer.get("Retry-After") in WAITS, (who, answer)
    assert answer.get("Access-Control-Allow-Origin") == "*", (who, answer)
    assert "Retry-After" in (answer.get("Access-Control-Expose-Headers") or ""), (who, answer)


class LastingGateway(Headgate):
    """A Headgate that has its streams again when it is started again."""

    def __init__(
        self, folder: Path, *routes: Mapping[str, object], sites: Sequence[str] = ("*",)
    ) -> None:
        """With `routes` besides the usual one, each to a log of its own; pages of `sites` read."""
        logs = ({"prefix": STREAMS}, *routes)
        kept = [{**one, "storage": f"file:{folder / str(at)}"} for at, one in enumerate(logs)]
        environment = {"HEADGATE_LIVE__LONG_POLL_TIMEOUT": "3", **variables({"routes": kept})}
        environment["HEADGATE_HTTP__CORS_ORIGINS"] = ",".join(sites)
        self.settings = load(None, environment, {})
        super().__init__(environment=environment)
        self.serve_routes(*kept)


@contextlib.contextmanager
def in_front(
    gateway: LastingGateway, names: Sequence[str] = tuple(ENGINES)
) -> Iterator[dict[str, int]]:
    """The ports of these configurations' servers, by target, until the block ends."""
    ports = {name: free_port() for name in names}
    with contextlib.ExitStack() as stack:
        for name, port in ports.items():
            files = Candidate(name).files(port, gateway)
            stack.enter_context(started(ENGINES[name], files, port))
        yield ports


PAGE = """<!doctype html><script>
  const readers = {};
  for (const [name, url] of Object.entries(%s)) {
    const reader = readers[name] = { text: "", isClosed: false, isDead: false, opened: 0 };
    const source = new EventSource(url);
    let pending = [];
    source.addEventListener("open", () => { reader.opened += 1; });
    source.addEventListener("data", (event) => pending.push(event.data));
    source.addEventListener("control", (event) => {
      reader.text += pending.splice(0).join("");
      if (!JSON.parse(event.data).streamClosed) return;
      reader.isClosed = true;
      source.close();
    });
    source.addEventListener("error", () => {
      pending = [];
      reader.isDead ||= source.readyState === EventSource.CLOSED && !reader.isClosed;
    });
  }
</script>"""
"""A page that never opens an EventSource again: the browser alone does."""


class Outage(NamedTuple):
    """What was acknowledged, what each reader has read, and whose EventSource has closed."""

    written: bytes
    read: Mapping[str, bytes]
    dead: Sequence[str]


class Writer:
    """An idempotent producer, which repeats what nobody has acknowledged."""

    def __init__(self, url: str, name: str = "w") -> None:
        self.url = url
        self.name = name
        self.pause_s = PAUSE_S
        self.acknowledged: list[bytes] = []

    async def write_until(self, is_over: asyncio.Event) -> None:
        """Append one word after the other."""
        async with httpx.AsyncClient(verify=False, timeout=SERVER_PATIENCE_S) as client:
            while not is_over.is_set():
                due = asyncio.get_running_loop().time() + self.pause_s
                word = f"{self.name}{len(self.acknowledged)} ".encode()
                await self._append(client, word)
                self.acknowledged.append(word)
                await asyncio.sleep(due - asyncio.get_running_loop().time())

    async def _append(self, client: httpx.AsyncClient, word: bytes) -> None:
        seq = str(len(self.acknowledged))
        headers = {"Content-Type": TEXT, "Producer-Id": self.name, "Producer-Epoch": "0"}
        for _ in range(MOST_TRIES):
            with contextlib.suppress(httpx.TransportError):
                answer = await client.post(
                    self.url, content=word, headers={**headers, "Producer-Seq": seq}
                )
                if answer.status_code in {200, 204}:
                    return
                assert answer.status_code in {502, 503, 504}, answer
            await asyncio.sleep(RULES.again_s)
        raise AssertionError(f"{word!r} was not taken in {MOST_TRIES} tries")


async def _read(read: Read, url: str, mode: Mode) -> bytes:
    """What an official client has read at the end of the stream."""
    reading = await read(url, mode)
    assert reading.closed, f"{read.__name__} {mode} of {url}"
    return reading.text


@contextlib.asynccontextmanager
async def _event_sources(urls: Mapping[str, str]) -> AsyncIterator[Told]:
    """An EventSource at each URL, in one page of Chromium; the block asks what they have read."""
    async with site(page=PAGE % json.dumps(urls)) as url, chromium() as browser:
        page = await browser.new_page()
        await page.goto(f"{url}/page")

        async def told() -> dict[str, dict[str, Any]]:
            return dict(await page.evaluate("readers"))

        yield told


async def outage(
    gateway: LastingGateway, targets: Mapping[str, int], away_s: float, clients: Sequence[Client]
) -> Outage:
    """Kill the gateway while all read, start it again after so long, and let them read to the end.

    An EventSource reads at each target, and so do these official clients.
    """
    path = f"/v1/stream/s{next(_NUMBERS)}"
    writer, is_over = Writer(f"{gateway.url}{path}"), asyncio.Event()
    urls = {name: f"http://127.0.0.1:{port}{path}" for name, port in targets.items()}
    await create_stream(writer.url, TEXT)
    async with (
        asyncio.timeout(away_s + 2 * SERVER_PATIENCE_S),
        _event_sources({it: f"{url}?offset=-1&live=sse" for it, url in urls.items()}) as told,
        asyncio.TaskGroup() as tasks,
    ):
        reading = {
            f"{read.__name__} {mode} at {name}": tasks.create_task(_read(read, urls[name], mode))
            for name, read, mode in clients
        }
        writing = tasks.create_task(writer.write_until(is_over))
        await until(lambda: _all_have(told, "text"), "news for all", within_s=SERVER_PATIENCE_S)
        gateway.kill()
        await asyncio.sleep(away_s)
        await asyncio.to_thread(gateway.start)
        before = len(writer.acknowledged)
        await until(lambda: len(writer.acknowledged) > before + FEW, within_s=SERVER_PATIENCE_S)
        is_over.set()
        await writing
        await close_stream(writer.url)
        await until(lambda: _all_have(told, "isClosed"), "the end", within_s=SERVER_PATIENCE_S)
        sources = await told()
    read = {f"an EventSource at {name}": it["text"].encode() for name, it in sources.items()}
    read |= {name: task.result() for name, task in reading.items()}
    return Outage(
        b"".join(writer.acknowledged), read, [it for it in sources if sources[it]["isDead"]]
    )


async def _all_have(told: Told, what: str) -> bool:
    """Whether it is so of each EventSource, or it has closed for good."""
    return all(one[what] or one["isDead"] for one in (await told()).values())
