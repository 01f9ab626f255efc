"""The pages beside the streams: `/`, HTML for a browser and JSON for programs, and `/healthz`."""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.errors import MethodNotAllowed
from gateway.protocol.cache_headers import NO_STORE
from gateway.protocol.responses import SECURITY, Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.runtime.route import Entrance

METHODS = "GET, HEAD"
# The path that load balancers probe by habit. No stream has it: a stream's name follows its prefix.
HEALTH_PATH = "/healthz"
PROTOCOL = "Durable Streams"
UNKNOWN_HOST = "http://HOST"  # for an HTTP/1.0 client without a Host

_WEIGHT = re.compile(r"q=(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)
_STYLE = """
:root { color-scheme: light dark; --page: #fafafa; --text: #18181b; --muted: #52525b;
  --card: #ffffff; --line: #e4e4e7 }
@media (prefers-color-scheme: dark) { :root { --page: #0b0d10; --text: #e7e9ee; --muted: #9aa3b2;
  --card: #14171c; --line: #262a31 } }
body { margin: 0; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif }
main { max-width: 44rem; margin: 0 auto; padding: 2rem 1rem }
h1 { font-size: 1.5rem; margin: 0 }
h2 { font-size: 1rem; margin: 2rem 0 .5rem }
p { margin: .5rem 0; color: var(--muted) }
ul { margin: 0; padding-left: 1.25rem }
code { font: .875rem/1.6 ui-monospace, monospace; overflow-wrap: anywhere }
pre { margin: .5rem 0; padding: .75rem 1rem; background: var(--card); white-space: pre-wrap;
  border: 1px solid var(--line); border-radius: .5rem }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Headgate</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
<h1>Headgate</h1>
<p>This is a server of durable streams: append-only logs, each with a URL. There is no stream at
this one.</p>
<h2>Where the streams are</h2>
<ul>
{routes}
</ul>
{passed_on}{entrances}<h2>How to read one</h2>
<p>Write its name for <code>NAME</code>. All it has, and where to read on:</p>
<pre><code>curl -i '{stream}?offset=-1'</code></pre>
<p>The same, and what is appended from now on, as it comes:</p>
<pre><code>curl -N '{stream}?offset=-1&amp;live=sse'</code></pre>
<h2>More</h2>
<p>Any client of the {protocol} protocol can read and write here. The document
<code>docs/http.md</code> of the Headgate project has the rest.</p>
</main>
</body>
</html>
"""
_PASSED_ON = """<h2>Where requests are passed on</h2>
<p>Answers of models, or of other servers, become streams.</p>
<ul>
{routes}
</ul>
"""
_ENTRANCE = """<h2>Where {who} connect</h2>
<p>{what}</p>
<ul>
{paths}
</ul>
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# Nothing is loaded, run, framed or sent anywhere; the empty icon saves a request for one.
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
_FIELDS = f"{SECURITY}{NO_STORE}Vary: Accept\r\n"


class Places(NamedTuple):
    """The URL of a server, the prefixes of its streams, and those of requests for other servers.

    `entrances` are the paths at which clients of features connect.
    """

    base_url: str
    prefixes: Sequence[str]
    passed_on: Sequence[str] = ()
    entrances: Mapping[Entrance, Sequence[str]] = MappingProxyType({})


def front_page(method: str, places: Places, accept: str) -> Response:
    """Return the page at `/` of a server. Raises MethodNotAllowed.

    The page names the prefixes of routes, as every refusal of a path does, and no streams.
    """
    if method not in {"GET", "HEAD"}:
        raise MethodNotAllowed(f"/ is a page: it takes {METHODS}", METHODS)
    if not prefers_html(accept):
        return Response(200, f"{_FIELDS}Content-Type: application/json\r\n", _json(places))
    fields = f"{_FIELDS}Content-Security-Policy: {_POLICY}\r\n"
    page = _PAGE.format(
        style=_STYLE,
        routes=_items(places.prefixes),
        passed_on=_PASSED_ON.format(routes=_items(places.passed_on)) if places.passed_on else "",
        entrances="".join(
            _ENTRANCE.format(who=it.who, what=it.what, paths=_items(paths, ""))
            for it, paths in places.entrances.items()
        ),
        stream=escape(f"{places.base_url or UNKNOWN_HOST}{places.prefixes[0]}/NAME"),
        protocol=PROTOCOL,
    )
    return Response(200, f"{fields}Content-Type: text/html; charset=utf-8\r\n", page.encode())


def health(method: str) -> Response:
    """Return the answer of a server that is alive, for those in front. Raises MethodNotAllowed."""
    if method not in {"GET", "HEAD"}:
        raise MethodNotAllowed(f"{HEALTH_PATH} says that this server is up: {METHODS}", METHODS)
    return Response(200, f"{SECURITY}{NO_STORE}Content-Type: text/plain\r\n", b"ok\n")


def prefers_html(accept: str) -> bool:
    """Return whether an Accept field prefers HTML to JSON (RFC 9110 section 12.5.1).

    Browsers name HTML. Programs send `*/*` or nothing, and get JSON.
    """
    weights: dict[str, float] = {}
    for item in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        weights[kind] = _weight(parameters)
    html = weights.get("text/html", 0.0)
    anything = weights.get("application/*", weights.get("*/*", 0.0))
    return html > 0 and html >= weights.get("application/json", anything)


def _weight(parameters: list[str]) -> float:
    """Return the weight of a media type, 1 by default, and 0 for an invalid one."""
    for parameter in parameters:
        if parameter.startswith("q="):
            return float(parameter[2:]) if _WEIGHT.fullmatch(parameter) else 0.0
    return 1.0


def _items(paths: Iterable[str], end: str = "/") -> str:
    return "\n".join(f"<li><code>{escape(path)}{end}</code></li>" for path in paths)


def _json(places: Places) -> bytes:
    page: dict[str, object] = {
        "name": "Headgate",
        "protocol": PROTOCOL,
        "routes": [{"prefix": prefix} for prefix in places.prefixes],
    }
    if places.passed_on:
        page["passed_on"] = [{"prefix": prefix} for prefix in places.passed_on]
    for entrance, paths in places.entrances.items():
        page[entrance.key] = [{"path": path} for path in paths]
    return msgspec.json.encode(page) + b"\n"
