"""Requests to the admin listener: its probes, pages, forms and API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from headgate_admin.api.openapi import OPERATIONS
from headgate_admin.pages.views import pages
from tests.fuzz.corpus import NAMES, PREFIX, spoiled

if TYPE_CHECKING:
    import random

CSRF = b"the-token-against-forgery"
"""In place of the one that the server has made, so that all else follows from the seed."""
_PROBES = (
    "/healthz",
    "/readyz",
    "/readyz?verbose",
    "/metrics",
    "/nothing",
    "/api/v1/nothing",
    "//",
)
_PAGES = (
    *(page.path for page in pages()),
    *("/alerts", "/sign-in", "/static/style.css", "/static/..%2fapp.py", "/caches/cdn/file"),
    *("/?span=1h", "/?span=x"),
)
_ANSWERS = tuple(it.path.removeprefix("/api/v1/") for it in OPERATIONS if it.method == "GET")
_VALUES = (
    "",
    PREFIX,
    "/none",
    "a",
    "-1",
    "0",
    "active",
    "0:9:a",
    "15m",
    "nginx",
    "%",
    "\u00e9",
    "x" * 300,
    "9" * 30,
)
_KEYS = (
    "route",
    "name",
    "offset",
    "skip",
    "limit",
    "span",
    "order",
    "after",
    "begins",
    "target",
    "status",
)
_FIELDS = (
    *(
        "Expect: 100-continue",
        "Expect: \xff",
        "Expect: 100-maybe",
        "Accept: text/html",
        "Accept: ,",
    ),
    *("Content-Type: multipart/form-data; boundary=x", "Content-Type: multipart/form-data"),
    *("Content-Type: application/x-www-form-urlencoded; charset=none", "Content-Encoding: gzip"),
    *("Cookie: headgate_session=x", "Authorization: Bearer x", "Authorization: Basic \xe9"),
    *("Origin: null", "Origin: http://[", "Upgrade: websocket", "Connection: upgrade"),
    *("X-Forwarded-Proto: https, x", "X-CSRF-Token: \xff", "Last-Event-ID: 0", "Host: evil"),
    *("Accept: application/openmetrics-text", "Accept-Encoding: gzip", "Range: bytes=0-0"),
)


def conversation(chance: random.Random) -> list[bytes]:
    """Return the requests of one connection, one by one or pipelined."""
    requests = [spoiled(chance, chance.choice(_KINDS)(chance)) for _ in range(chance.randint(1, 5))]
    return [b"".join(requests)] if chance.random() < 0.3 else requests


def _request(
    chance: random.Random, method: str, target: str, body: bytes | None = None, kind: str = ""
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
    if body is not None:
        lines += [f"Content-Type: {kind}", f"X-CSRF-Token: {CSRF.decode()}"]
        lines.append(f"Content-Length: {len(body)}")
    if chance.random() < 0.3:
        lines.append(chance.choice(_FIELDS))
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def _query(chance: random.Random) -> str:
    said = {key: chance.choice(_VALUES) for key in chance.sample(_KEYS, chance.randint(0, 3))}
    if chance.random() < 0.7:
        said |= {"route": PREFIX, "name": chance.choice(NAMES)}
    return f"?{urlencode(said)}" if said else ""


def _probe(chance: random.Random) -> bytes:
    method = chance.choice(("GET", "GET", "GET", "HEAD", "OPTIONS", "DELETE"))
    return _request(chance, method, chance.choice(_PROBES))


def _page(chance: random.Random) -> bytes:
    target = chance.choice(_PAGES)
    return _request(chance, "GET", target if "?" in target else target + _query(chance))


def _answer(chance: random.Random) -> bytes:
    method = "DELETE" if chance.random() < 0.05 else "GET"
    return _request(chance, method, f"/api/v1/{chance.choice(_ANSWERS)}{_query(chance)}")


def _call(chance: random.Random) -> bytes:
    name = chance.choice(NAMES)
    path, body = chance.choice(
        (
            ("session", {"name": chance.choice(_VALUES), "password": chance.choice(_VALUES)}),
            ("explain", {"url": f"{PREFIX}/{name}", "headers": [["A", chance.choice(_VALUES)]]}),
            ("explain", {"url": chance.choice(_VALUES), "method": "PATCH"}),
            ("stream/append", {"route": PREFIX, "name": name, "data": chance.choice(_VALUES)}),
            ("stream/close", {"route": PREFIX, "name": name}),
            ("runs/stop", {"route": PREFIX, "name": name}),
            ("tokens", {"subject": chance.choice(_VALUES), "streams": f"{PREFIX}/*"}),
        )
    )
    sent = json.dumps(body).encode()
    if chance.random() < 0.2:
        sent = chance.choice((b"", b"{", b"[]", b"\xff", b"[" * 5000, b"1e999", b'{"url": 1}'))
    return _request(chance, "POST", f"/api/v1/{path}", sent, "application/json")


def _form(chance: random.Random) -> bytes:
    said = {"csrf": CSRF.decode(), "name": chance.choice(_VALUES), "next": chance.choice(_VALUES)}
    said |= {"action": chance.choice(("append", "close", "delete", "x")), "content": "text"}
    said |= {"password": "x", "target": chance.choice(_VALUES), "confirm": chance.choice(NAMES)}
    path = chance.choice(
        (
            "/sign-in",
            "/caches",
            f"/streams/one{_query(chance)}",
            f"/runs{_query(chance)}",
            "/sign-out",
        )
    )
    return _request(
        chance, "POST", path, urlencode(said).encode(), "application/x-www-form-urlencoded"
    )


_KINDS = (_probe, _page, _answer, _call, _form)
