"""What is for this gateway alone, and what would change a request, leaves it by no way out."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.proxies.serving import proxies, written
from tests.support.given_settings import variables
from tests.support.processes import Headgate
from tests.support.raw_origin import Heard, RawOrigin, Wire, answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANARY = "canary-token-0123456789"
INTERNAL = {
    "Cookie": f"a=1; __Secure-headgate={CANARY}; headgate_session={CANARY}",
    "Headgate-Token": CANARY,
    "Referer": f"https://ann:{CANARY}@pages.example/chat?token={CANARY}#{CANARY}",
    "X-HTTP-Method-Override": "DELETE",
    "X-Original-URL": "/other",
    "X-Rewrite-URL": "/other",
    "Destination": "http://other.example/",
    "X-Kept": "1",
}
NAMES = INTERNAL.keys() - {"Cookie", "Referer", "X-Kept"}
CHAT = b'{"model": "m", "stream": %s, "messages": []}'
EDGE, MODELS, PROXY = "/edge", "/openai", "/v1/proxy"
# The method, the path and the body.
WAYS: dict[str, tuple[str, str, bytes | None]] = {
    "a shared read": ("GET", f"{EDGE}/s?offset=-1", None),
    "an append": ("POST", f"{EDGE}/s", b"x"),
    "a deletion": ("DELETE", f"{EDGE}/s", None),
    "a read of an origin that decides who may read": ("GET", "/decided/s?offset=-1", None),
    "an append to an origin that decides": ("POST", "/decided/s", b"x"),
    "a stored answer": ("POST", f"{MODELS}/v1/chat/completions", CHAT % b"true"),
    "an answer that is passed on": ("POST", f"{MODELS}/v1/chat/completions", CHAT % b"false"),
    "another request to a provider": ("GET", f"{MODELS}/v1/models", None),
    "a request by the proxy protocol": ("POST", PROXY, b"{}"),
}


async def play(wire: Wire) -> None:
    await wire.body()
    await wire.send(answer(b"", "Content-Type: text/plain", "Stream-Next-Offset: 1_0"))


@contextlib.contextmanager
def gateway_before(origin: RawOrigin, folder: Path) -> Iterator[Headgate]:
    written(folder)
    routes = [
        {"prefix": "/v1/stream", "storage": "memory:"},
        {"prefix": EDGE, "origin": origin.url},
        {"prefix": "/decided", "origin": origin.url, "auth": "origin"},
    ]
    model = {"prefix": MODELS, "dialect": "openai", "streams": "/v1/stream/answers"}
    settings = {
        **variables({"models": [{**model, "upstream": origin.url}]}),
        **variables({"proxies": proxies(folder, {"auth": "none"})}),
    }
    server = Headgate(environment=settings)
    server.serve_routes(*routes)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.mark.usefixtures("processes")
async def test_no_internal_field_of_a_client_leaves_the_gateway(tmp_path: Path) -> None:
    fields = {**INTERNAL, "Content-Type": "application/json", "Idempotency-Key": "k"}
    async with RawOrigin(play) as origin, aiohttp.ClientSession() as http:
        fields["Upstream-URL"] = f"http://127.0.0.1:{origin.port}/v1/chat"
        fields["Upstream-Method"] = "POST"
        with gateway_before(origin, tmp_path) as gateway:
            for way, (method, path, body) in WAYS.items():
                origin.heard.clear()
                url = gateway.url + path
                async with http.request(method, url, data=body, headers=fields) as response:
                    await response.read()
                assert origin.heard, f"{way}: {response.status}: nothing was sent"
                for heard in origin.heard:
                    check(heard)


def check(heard: Heard) -> None:
    named = heard.named
    is_admission = named.pop("authorization", "") == f"Bearer {CANARY}"
    assert not is_admission or "/decided/" in heard.target
    assert CANARY not in repr(named), heard.target
    assert not named.keys() & {name.lower() for name in NAMES}, heard.target
    assert heard.method == "HEAD" or named["x-kept"] == "1", heard.target
    assert named.get("referer", "https://pages.example/chat") == "https://pages.example/chat"
