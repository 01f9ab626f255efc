"""A real gateway whose pages have something to show, much of it written by somebody hostile."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp

import headgate
from tests.support.keys_files import new_keys_file
from tests.support.ports import free_port
from tests.support.processes import Headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROUTE, GUARDED = "/v1/stream", "/v1/audit"
HOSTILE = (
    # Elements that run something when they are parsed, loaded, shown, focused or closed.
    "<script>alert(1)</script>",
    "<ScRiPt>alert(1)</sCrIpT >",
    "<script src=//evil.example/x.js></script>",
    "<script type=module>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img/src=x/onerror=alert`1`>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<body onload=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<marquee onstart=alert(1)>",
    "<iframe src=javascript:alert(1)></iframe>",
    '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    "<object data=javascript:alert(1)></object>",
    "<embed src=//evil.example/x.swf>",
    "<form action=javascript:alert(1)><button>go</button></form>",
    "<a href=javascript:alert(1)>link</a>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content=0;url=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>@import '//evil.example/x.css';</style>",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    # Ways out of an attribute, a script, a style, a comment, a text area, and a template.
    "\" onmouseover=\"alert(1)\" autofocus onfocus=\"alert(1)",
    "' onmouseover='alert(1)' autofocus onfocus='alert(1)",
    "` onmouseover=`alert(1)",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "</pre></bdi><img src=x onerror=alert(1)>",
    "--><script>alert(1)</script><!--",
    "]]><script>alert(1)</script>",
    "{{7*7}}${alert(1)}<%= 7*7 %>{% raw %}",
    "javascript:alert(1)//",
    # As they come when something decodes them once more.
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "&lt;script&gt;alert(1)&lt;/script&gt;&#x3c;img src=x onerror=alert(1)&#x3e;",
    "\u202e\u2028<script>alert(1)</script>\x1b[31m\x08",
)  # fmt: skip
# Turns round what follows, is read from the right, has no room in a table.
ODD = ("\u202egpj.exe", "\u05e9\u05dc\u05d5\u05dd-\u0627\u0644\u0639\u0627\u0644\u0645", "n" * 1900)
CHATS = 137
TREE = '{"token": "Hello", "at": 12345678901234567890, "parts": [1, 2, {"deep": null}]}'
JSON = {"Content-Type": "application/json"}
TOKEN = "billing-token-0123456789"
UNRESERVED = "()!*'"  # which a canonical name has as they are
UNREACHABLE = "http://127.0.0.1:9"


TOKENS = f"""\
[[tokens]]
name = "billing"
token = "sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"
grants = [{{ streams = "{GUARDED}/*", operations = ["read"] }}]
[[tokens]]
name = "auditor"
token = "sha256:{hashlib.sha256(b"auditor").hexdigest()}"
grants = [{{ streams = "{GUARDED}/{quote(HOSTILE[0], safe="")}/*", operations = ["append"] }}]
expires = 2001-01-01T00:00:00Z
[[revoked]]
sub = {json.dumps(HOSTILE[4])}
"""


def routes(folder: Path) -> tuple[dict[str, object], ...]:
    """Return routes of each kind; one leads to an origin that is away."""
    return (
        {"prefix": ROUTE, "storage": "memory:", "runs": True},
        {"prefix": "/v1/chat", "origin": f"{UNREACHABLE}/chat"},
        {"prefix": GUARDED, "storage": f"file:{folder}/audit", "auth": ["tokens"]},
    )


def evil(name: str) -> str:
    """Return the name of a stream, as it is in URLs."""
    return f"evil/{quote(name, safe=UNRESERVED)}"


class Filled:
    """The server, and a client of its streams."""

    def __init__(self, server: Headgate, folder: Path, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.folder = folder
        self.session = session
        self.config = folder / "headgate.toml"
        self.settings = self.config.read_text()  # that are in force

    @property
    def console(self) -> str:
        return self.server.admin_url

    async def send(
        self, method: str, name: str, body: object = None, **headers: str
    ) -> tuple[int, str]:
        """Send a request for a stream of ROUTE; return the status and the text of the response."""
        sent = {**JSON, **{key.replace("_", "-"): value for key, value in headers.items()}}
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        url = name if name.startswith("http") else f"{self.server.url}{ROUTE}/{name}"
        async with self.session.request(method, url, data=data, headers=sent) as response:
            return response.status, await response.text()

    async def follow(self, name: str) -> None:
        """Follow a stream of ROUTE, again whenever the response ends, with a hostile user agent."""
        url = f"{self.server.url}{ROUTE}/{name}?offset=-1&live=sse"
        while True:
            async with self.session.get(
                url, headers={"User-Agent": HOSTILE[4]}, timeout=None
            ) as response:
                await response.read()

    async def api(self, path: str, body: object) -> None:
        """Have an operator change something."""
        async with self.session.get(f"{self.console}/api/v1/session") as response:
            headers = {"X-CSRF-Token": (await response.json())["csrf"]}
        url = f"{self.console}/api/v1/{path}"
        async with self.session.post(url, json=body, headers=headers) as response:
            assert response.status < 300, await response.text()


@contextlib.asynccontextmanager
async def filled() -> AsyncIterator[Filled]:
    """Yield a gateway with streams, readers, runs, subscriptions, tokens, refusals and a fault."""
    with tempfile.TemporaryDirectory(prefix="headgate-test-") as path:
        folder = Path(path)
        Path(folder, "tokens.toml").write_text(TOKENS)
        settings = (
            f'credentials.tokens_file = "{folder}/tokens.toml"\n'
            f'credentials.keys_file = "{new_keys_file(folder)}"\n'
            'http.hosts = ["streams.example.com"]\n'
        )
        config = Path(folder, "headgate.toml")
        config.write_text(settings)
        server = Headgate(arguments=["--config", str(config)])
        server.serve_routes(*routes(folder))
        async with aiohttp.ClientSession() as session, contextlib.AsyncExitStack() as stack:
            stack.callback(server.close)
            await asyncio.to_thread(server.start)
            site = Filled(server, folder, session)
            await _fill(site, stack)
            # What a reload would change, and would refuse.
            config.write_text(f"{settings}live.long_poll_timeout = 30\nworkers = 3\n")
            yield site


async def _fill(site: Filled, stack: contextlib.AsyncExitStack) -> None:
    await _write(site)
    await _subscribe(site)
    for name in ("missing", f"missing/{quote(HOSTILE[0])}", "chat/0000?offset=x"):
        await site.send("GET", name, User_Agent=HOSTILE[4])
    for url in (f"{GUARDED}/x", "/v1/chat/x"):
        await site.send("GET", f"{site.server.url}{url}", Authorization=f"Bearer {TOKEN}")
    for stream in ("chat/0000", "chat/0000", evil(HOSTILE[0])):
        reading = asyncio.create_task(site.follow(stream))
        stack.callback(reading.cancel)
    runs = await stack.enter_async_context(headgate.Runs(f"{site.server.url}{ROUTE}/runs"))
    for name, source in {"goes-on": _endless(), "done": _few()}.items():
        await runs.start(name, source)
    await site.api("bans", {"kind": "address", "value": "2001:db8::7", "seconds": 9e4})
    await site.api("streams/deletion", {"route": ROUTE, "prefix": "evil/"})

    async def is_measured() -> bool:  # by the first look, which has the fault
        async with site.session.get(f"{site.console}/api/v1/overview") as response:
            overview = await response.json()
        return bool(overview["attention"] and overview["live_readers"]["value"])

    await until(is_measured)


async def _write(site: Filled) -> None:
    names = [*(evil(it) for it in (*HOSTILE, *ODD)), *(f"chat/{at:04}" for at in range(1, CHATS))]
    for name in names:
        await site.send("PUT", name, [name])
    await site.send("PUT", "chat/0000")
    words = ({"token": f"word {number}"} for number in range(120))
    await site.send("POST", "chat/0000", [json.loads(TREE), *HOSTILE, *ODD[:2], *words])
    for at, name in enumerate(HOSTILE[:5]):
        producer = {"Producer_Id": quote(name), "Producer_Epoch": "0", "Producer_Seq": "0"}
        await site.send("POST", "chat/0000", [at], **producer)
    await site.send("PUT", "binary", bytes(range(256)), Content_Type="application/octet-stream")


async def _subscribe(site: Filled) -> None:
    names = ("orders", "bills", HOSTILE[0], HOSTILE[4], *(f"more-{number}" for number in range(7)))
    for name in names:
        body = {
            "type": "webhook",
            "pattern": f"{quote(name[:20])}/*",
            "webhook": {"url": f"http://127.0.0.1:{free_port()}/hook"},
            "description": HOSTILE[0],
        }
        await site.send("PUT", f"__ds/subscriptions/{quote(name, safe='')}", body)
    await site.send("PUT", "wakes")
    pool = {"type": "pull-wake", "pattern": "jobs/*", "wake_stream": "wakes"}
    await site.send("PUT", "__ds/subscriptions/pool", pool)
    await site.send("PUT", "orders/1", [1])
    await site.send("PUT", "jobs/1", [1])
    await site.api("subscription/pause", {"route": ROUTE, "id": "more-0"})


async def _endless() -> AsyncIterator[str]:
    while True:
        yield "word "
        await asyncio.sleep(0.05)


async def _few() -> AsyncIterator[str]:
    yield "a word"
