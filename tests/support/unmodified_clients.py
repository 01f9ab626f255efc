"""Unmodified clients as functions that read a stream from its beginning until it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx
from aiohttp import web
from aiohttp.test_utils import TestServer
from durable_streams import DurableStreamError, astream

from tests.support.processes import NODE, ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Mode = Literal["catch-up", "long-poll", "sse"]

SCRIPTS = ROOT / "tests" / "node"
READER_PAGE = Path(__file__).with_name("reader_page.html")
# Each window would load the pages that its address bar opens: a second of a core, and no window is
# seen. The others are those that Playwright disables, which are enabled again by another list.
UNNEEDED_FEATURES = (
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup"),
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades"),
    *("HttpsFirstBalancedModeAutoEnable", "LensOverlay", "MediaRouter", "PaintHolding"),
    *("ThirdPartyStoragePartitioning", "AvoidCorsURLLoaderRestartOnRedirect", "OptimizationHints"),
    *("NetworkTimeServiceQuerying", "AimEnabled", "PreconnectToSearch"),
)
CHROMIUM = (
    "/usr/bin/chromium",
    "--headless",
    # Tests may run as root in a container, where Chromium's sandbox cannot start.
    "--no-sandbox",
    "--disable-gpu",
    # Nor a process that computes what a graphics card would.
    "--disable-software-rasterizer",
    "--disable-quic",
    "--no-first-run",
    # Nothing but loopback is ever asked for.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    f"--disable-features={','.join(UNNEEDED_FEATURES)}",
)
# Longer than any long-poll; a reader that waits this long has lost the stream.
ANSWER_TIMEOUT_S = 45.0
PASSING = frozenset({429, 502, 503, 504})
PAUSE_S = 0.5  # after such a status
# A posted result is a whole text with its JSON escapes.
MAX_RESULT_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Reading:
    """What one client received, and how many requests it made in each mode."""

    text: bytes = field(repr=False)
    closed: bool
    requests: dict[str, int]


async def run_script(name: str, *arguments: str) -> tuple[Any, str]:
    """Run a driver of clients under Node: its report, and what it says on stderr."""
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        str(SCRIPTS / name),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with _stopped_at_the_end(process):
        output, errors = await process.communicate()
    said = errors.decode()
    assert process.returncode == 0, f"{name} {arguments}: {said[-4000:]}"
    return json.loads(output), said


async def run_client_script(*arguments: str) -> dict[str, Any]:
    """Run the driver of the TypeScript client and return its report."""
    report, said = await run_script("client.mjs", *arguments)
    # The client warns on stderr, for example when it gives SSE up.
    assert said == ""
    return dict(report)


async def read_with_typescript(url: str, mode: Mode) -> Reading:
    """`@durable-streams/client` under Node."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "text")
        report = await run_client_script("read", url, mode, str(output))
        return Reading(output.read_bytes(), report["closed"], report["requests"])


async def read_with_python(url: str, mode: Mode) -> Reading:
    """`durable-streams` from PyPI.

    Version 0.1.0 neither resumes a broken session nor knows closure. So a broken session is taken
    up again at the last offset it delivered, and closure is read from the answers' headers.
    """
    parts: list[str] = []
    requests: Counter[str] = Counter()
    offset = "-1"
    closed = False

    async def count(request: httpx.Request) -> None:
        requests[request.url.params.get("live", "catch-up")] += 1

    async def leave_closed_stream(answer: httpx.Response) -> None:
        # The client would poll a closed stream for ever, as each poll is answered 204 at once.
        if answer.status_code == 204 and answer.headers.get("Stream-Closed") == "true":
            raise _StreamEnded

    async def read_session(mode: Mode) -> bool:
        nonlocal offset
        async with (
            httpx.AsyncClient(
                timeout=ANSWER_TIMEOUT_S,
                # To read the authorities, of which plain HTTP asks none, is most of a session.
                verify=False,
                event_hooks={"request": [count], "response": [leave_closed_stream]},
            ) as client,
            astream(
                url, offset=offset, live=False if mode == "catch-up" else mode, client=client
            ) as session,
        ):
            async for event in session.iter_events(mode="text"):
                parts.append(event.data)
                offset = event.next_offset
            return session.headers.get("stream-closed") == "true"

    while not closed:
        try:
            with contextlib.suppress(_StreamEnded):
                await read_session(mode)
            closed = await read_session("catch-up")
        except (httpx.NetworkError, httpx.RemoteProtocolError, DurableStreamError) as error:
            await _pause_after(error)
    return Reading("".join(parts).encode(), closed, dict(requests))


async def _pause_after(error: Exception) -> None:
    """Wait a while where a status says that another try may do; raise any other one."""
    if isinstance(error, DurableStreamError):
        if error.status not in PASSING:
            raise error
        await asyncio.sleep(PAUSE_S)


class _StreamEnded(Exception):
    """A live poll was told that the stream is closed."""


async def read_with_browser(url: str, mode: Mode) -> Reading:
    """EventSource in headless Chromium, from a page of another origin than the stream's."""
    assert mode == "sse", "EventSource has no other mode"
    result: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()

    async def page(_: web.Request) -> web.FileResponse:
        return web.FileResponse(READER_PAGE)

    async def receive(request: web.Request) -> web.Response:
        report = await request.json()
        requests = {"sse": report["connections"]}
        result.set_result(Reading(report["text"].encode(), report["closed"], requests))
        return web.Response(status=204)

    application = web.Application(client_max_size=MAX_RESULT_BYTES)
    application.add_routes([web.get("/", page), web.post("/result", receive)])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with TestServer(application, host="127.0.0.1") as origin:
            process = await asyncio.create_subprocess_exec(
                *CHROMIUM,
                f"--user-data-dir={profile}",
                str(origin.make_url("/").with_query(stream=url)),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            async with _stopped_at_the_end(process):
                return await result


@contextlib.asynccontextmanager
async def _stopped_at_the_end(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
