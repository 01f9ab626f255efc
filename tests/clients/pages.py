"""The pages' examples in a browser, behind an nginx of the kind that most people have."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import async_playwright

from tests.clients.service_workers import ENABLED, WORKER
from tests.support.processes import NODE, ROOT
from tests.support.proxy_engines import program, running
from tests.support.unmodified_clients import CHROMIUM
from tests.support.waiting import SERVER_PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from playwright.async_api import Browser, Page

CLOSING_S = 10.0  # of a browser, which closes in half a second where nothing else is done
NGINX = """daemon off;
pid nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl http2;
        ssl_certificate tls.pem;
        ssl_certificate_key tls.key;
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""
# Before a page's example: what it shows, and the connections that it has opened.
AROUND = """<!doctype html>
<script>
  const shown = [], ends = [], opened = [];
  let connected = 0, isClosed = false;
  const show = (item) => shown.push(item);
  const showEnd = (status) => ends.push(status);
  const id = "one", question = "why?";
  window.EventSource = class extends EventSource {
    constructor(...words) {
      super(...words);
      opened.push(this);
      this.addEventListener("open", () => connected++);
      this.addEventListener("control", ({ data }) => (isClosed ||= JSON.parse(data).streamClosed));
    }
  };
</script>
"""


STREAM = re.compile(r"https?://[\w.:]+/v1/stream/[\w/-]+")  # the URL of one, in an example


@contextlib.asynccontextmanager
async def controlled(browser: Browser, url: str) -> AsyncIterator[Page]:
    """Open a page of a site whose service worker passes on the requests of the next ones."""
    async with await browser.new_context() as window:
        page = await window.new_page()
        await page.goto(f"{url}/empty")
        await page.evaluate(ENABLED)
        yield page


def client_bundle(folder: Path) -> Path:
    """Make the official client one module, as pages have it."""
    bundle = folder / "client.js"
    modules = ROOT / "tests" / "node" / "node_modules"
    source = modules / "@durable-streams" / "client" / "dist" / "index.js"
    words = [NODE, modules / ".bin" / "rolldown", source, "--platform", "browser", "--file", bundle]
    subprocess.run([str(word) for word in words], check=True, capture_output=True, timeout=60)
    return bundle


def examples(page: str, language: str = "js") -> list[str]:
    """Return the examples in a language that a page of the documents has."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


async def holds(page: Page, condition: str) -> None:
    """Wait until a condition holds in a page."""
    await page.wait_for_function(condition, timeout=SERVER_PATIENCE_S * 1000)


def page_with(example: str) -> str:
    """Return an HTML page that runs an example."""
    return f'{AROUND}<script type="module">{example}</script>'


@contextlib.contextmanager
def nginx(folder: Path, *, port: int, tls_port: int, upstream: int) -> Iterator[None]:
    """Run nginx before a port that need not be open, for HTTP/1.1 and, with TLS, HTTP/2."""
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    subprocess.run(
        [*made.split(), "-subj", "/CN=localhost", "-keyout", "tls.key", "-out", "tls.pem"],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(port=port, tls_port=tls_port, upstream=upstream))
    command = [program("nginx"), "-p", str(folder), "-c", str(file), "-e", "stderr"]
    with running(command, port, {}):
        yield


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run a browser; one that does not close in time is left to what drives it, which kills it."""
    path, _, *arguments = CHROMIUM
    tool = await async_playwright().start()
    try:
        yield await tool.chromium.launch(executable_path=path, args=arguments)
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                await tool.stop()


@contextlib.asynccontextmanager
async def site(**pages: str) -> AsyncIterator[str]:
    """Serve pages by their names, and a service worker, from an origin whose URL the block has."""

    async def worker(_: web.Request) -> web.Response:
        return web.Response(text=WORKER, content_type="text/javascript")

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=pages[request.match_info["name"]], content_type="text/html")

    application = web.Application()
    application.add_routes([web.get("/worker.js", worker), web.get("/{name}", page)])
    async with TestServer(application, host="127.0.0.1") as server:
        yield str(server.make_url("")).rstrip("/")
