"""Header fields of a client that would mean something else at the origin than here."""

from __future__ import annotations

import pytest

from tests.support.raw_origin import RawOrigin, Wire, answer
from tests.support.serving import EDGE, edge_serving, get, request

S = f"{EDGE}/s"
OTHER_MEANINGS = (
    *("X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE"),
    *("X-Original-URL: /other", "X-Rewrite-URL: /other"),
    *(f"Destination: http://headgate.test{EDGE}/other", "Overwrite: T", "Depth: infinity"),
    *("If: (<urn:uuid:1>)", "If-Schedule-Tag-Match: 1", "Lock-Token: <urn:uuid:1>"),
    *("Timeout: Infinite", "DAV: 1", "Label: old", "Position: first", "Ordered: T"),
    *("Ordering-Type: DAV:custom", "DASL: <DAV:basicsearch>", "Brief: t"),
    *("Call-Back: http://other.example", "Notification-Type: update", "Apply-To-Redirect-Ref: T"),
    "Translate: f",
)
NAMES = {line.partition(":")[0].lower() for line in OTHER_MEANINGS}
TOKEN = "canary-token-0123456789"
REFERER = f"Referer: https://ann:{TOKEN}@pages.example/chat?token={TOKEN}#{TOKEN}"
REQUESTS = {
    "read": ("GET", ()),
    "read passed on": ("GET", ("Cache-Control: no-store",)),
    "live read": ("GET", ()),
    "HEAD": ("HEAD", ()),
    "append": ("POST", ()),
    "append in a task": ("POST", ("Connection: close",)),
    "creation": ("PUT", ()),
    "deletion": ("DELETE", ()),
    "method of others": ("MOVE", ()),
}


async def swallow(wire: Wire) -> None:
    await wire.body()
    await wire.send(answer(b"", "Content-Type: text/plain", "Stream-Next-Offset: 1_0"))


def asked(kind: str, *lines: str) -> bytes:
    method, more = REQUESTS[kind]
    target = f"{S}?offset=1_0&live=sse" if kind == "live read" else S
    return request(method, target, *more, *lines)


@pytest.mark.parametrize("kind", REQUESTS)
async def test_override_headers_and_tokens_in_a_referer_do_not_reach_the_origin(kind: str) -> None:
    async with RawOrigin(swallow) as origin, edge_serving(origin) as gateway:
        await gateway.ask(get(f"{EDGE}/warm"))  # a connection is kept, for the ways without tasks
        client = await gateway.connect()
        client.send(asked(kind, *OTHER_MEANINGS, REFERER, "X-Kept: 1"))
        await client.head()
        heard = origin.heard[1]
        is_live = kind == "live read"  # which is for everybody
        assert heard.method == REQUESTS[kind][0]
        assert (heard.named.get("x-kept") == "1") is not is_live
        assert not NAMES & heard.named.keys()
        told = None if is_live else "https://pages.example/chat"
        assert heard.named.get("referer") == told
        assert TOKEN.encode() not in heard.head


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_identity_header_reaches_the_origin_although_its_name_looks_like_a_rewrite(
    method: str,
) -> None:
    route = {"identity_headers": ("X-Original-User",)}
    async with RawOrigin(swallow) as origin, edge_serving(origin, route) as gateway:
        await gateway.ask(request(method, S, "X-Original-User: ann"))
        assert origin.heard[0].named["x-original-user"] == "ann"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("https://pages.example/a@b", "https://pages.example/a@b"),
        ("https://pages.example", "https://pages.example"),
        ("/chat?x", "/chat"),
        ("?token=1", ""),
        ("about:blank", "about:blank"),
        ("https://a@b@pages.example/", "https://pages.example/"),
    ],
)
async def test_a_referer_reaches_the_origin_without_its_query_and_credentials(
    said: str, told: str
) -> None:
    async with RawOrigin(swallow) as origin, edge_serving(origin) as gateway:
        await gateway.ask(get(S, f"Referer: {said}"))
        assert origin.heard[0].named["referer"] == told
