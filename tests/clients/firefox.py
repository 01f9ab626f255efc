"""Firefox, which nothing drives: its pages do everything by themselves, and report their state."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

FIREFOX = "/usr/bin/firefox-esr"
STARTING_S = 90.0  # of a browser on a busy machine, which takes 2 s otherwise
ENDING_S = 10.0
PREFERENCES = {
    # What is not on loopback is asked of a proxy that is not there.
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    # Of an EventSource, which waits for 5 s by default.
    "dom.server-events.default-reconnection-time": 500,
    # No pages of its own, and no requests but those of the pages.
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.chrome.site_icons": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "app.normandy.enabled": False,
    "app.update.enabled": False,
}
# Reports the value of an expression again and again.
REPORTING = """<script type="module">
  for (;;) {
    const body = JSON.stringify(EXPRESSION);
    await fetch("URL" + encodeURIComponent(location), { method: "POST", body }).catch(() => {});
    await new Promise((done) => setTimeout(done, 100));
  }
</script>"""


class Reports:
    """The newest reports of pages, by the URLs of the pages."""

    def __init__(self) -> None:
        self.url = ""
        self.newest: dict[str, Any] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def served(cls) -> AsyncIterator[Reports]:
        """Take reports while the block runs."""
        reports = cls()
        app = web.Application()
        app.add_routes([web.post("/{page:.*}", reports._take)])
        async with TestServer(app, host="127.0.0.1") as server:
            reports.url = str(server.make_url("/"))
            yield reports

    def script(self, expression: str) -> str:
        """Return an element that has its page report the value of an expression."""
        return REPORTING.replace("URL", self.url).replace("EXPRESSION", expression)

    async def hold(self, fits: Callable[[Any], bool], *pages: str) -> None:
        """Wait until the newest report of each page fits."""
        try:
            await until(
                lambda: all(it in self.newest and fits(self.newest[it]) for it in pages),
                within_s=STARTING_S,
            )
        except AssertionError as error:
            error.add_note(f"the newest reports: {self.newest}")
            raise

    async def _take(self, request: web.Request) -> web.Response:
        self.newest[request.match_info["page"]] = json.loads(await request.text())
        return web.Response(headers={"Access-Control-Allow-Origin": "*"})


@contextlib.asynccontextmanager
async def firefox(*urls: str) -> AsyncIterator[None]:
    """Run Firefox with a tab for each URL."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        lines = [f"user_pref({json.dumps(n)}, {json.dumps(v)});" for n, v in PREFERENCES.items()]
        Path(profile, "user.js").write_text("\n".join(lines))
        process = await asyncio.create_subprocess_exec(
            *(FIREFOX, "--headless", "--no-remote", "--profile", profile, *urls),
            env={**os.environ, "HOME": profile},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), ENDING_S)
            except TimeoutError:
                process.kill()
                await process.wait()
