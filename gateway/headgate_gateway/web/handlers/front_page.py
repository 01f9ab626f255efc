"""The pages beside the streams: `/`, HTML for a browser and JSON for programs, and `/healthz`."""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headgate_gateway.errors import MethodNotAllowed
from headgate_gateway.protocol.cache_headers import NO_STORE
from headgate_gateway.protocol.responses import SECURITY, Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from headgate_gateway.routes.feature import Entrance

METHODS = "GET, HEAD"
# The path that load balancers probe by habit. No stream has it: a stream's name follows its prefix.
HEALTH_PATH = "/healthz"
PROTOCOL = "Durable Streams"
UNKNOWN_HOST = "http://HOST"  # for an HTTP/1.0 client without a Host

_WEIGHT = re.compile(r"q=(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)
_FOLDER = resources.files(__package__)
_STYLE = _FOLDER.joinpath("front_page.css").read_text()
_PAGE = _FOLDER.joinpath("front_page.html").read_text()
_SECTION = "<h2>Where {}</h2>\n<p>{}</p>\n<ul>\n{}\n</ul>\n"
_PASSED_ON = "requests are passed on", "Answers of models, or of other servers, become streams."
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# Nothing is loaded, run, framed or sent anywhere; the empty icon saves a request for one.
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
_FIELDS = f"{SECURITY}{NO_STORE}Vary: Accept\r\n"


class ServerPaths(NamedTuple):
    """The URL of a server, the prefixes of its streams, and those of requests for other servers.

    `entrances` are the paths at which clients of features connect.
    """

    base_url: str
    prefixes: Sequence[str]
    passed_on: Sequence[str] = ()
    entrances: Mapping[Entrance, Sequence[str]] = MappingProxyType({})


def front_page(method: str, server: ServerPaths, accept: str) -> Response:
    """Return the page at `/` of a server. Raises MethodNotAllowed.

    The page names the prefixes of routes, as every refusal of a path does, and no streams.
    """
    if method not in {"GET", "HEAD"}:
        raise MethodNotAllowed(f"/ is a page: it takes {METHODS}", METHODS)
    if not prefers_html(accept):
        return Response(200, f"{_FIELDS}Content-Type: application/json\r\n", _json(server))
    fields = f"{_FIELDS}Content-Security-Policy: {_POLICY}\r\n"
    sections = [_SECTION.format(*_PASSED_ON, _items(server.passed_on))] if server.passed_on else []
    for it, paths in server.entrances.items():
        sections.append(_SECTION.format(f"{it.who} connect", it.what, _items(paths, "")))
    page = _PAGE.format(
        style=_STYLE,
        routes=_items(server.prefixes),
        sections="".join(sections),
        stream=escape(f"{server.base_url or UNKNOWN_HOST}{server.prefixes[0]}/NAME"),
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


def _json(server: ServerPaths) -> bytes:
    page: dict[str, object] = {
        "name": "Headgate",
        "protocol": PROTOCOL,
        "routes": [{"prefix": prefix} for prefix in server.prefixes],
    }
    if server.passed_on:
        page["passed_on"] = [{"prefix": prefix} for prefix in server.passed_on]
    for entrance, paths in server.entrances.items():
        page[entrance.key] = [{"path": path} for path in paths]
    return msgspec.json.encode(page) + b"\n"
