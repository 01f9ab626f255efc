"""A provider's fields by which caches decide have one line each, whether its answer is stored."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.models.answers import chat_completion
from tests.models.serving import OPENAI, gateway_before
from tests.proxies.serving import PREFIX, SERVICE, gateway_with_proxy
from tests.support.http1 import ask
from tests.support.raw_origin import RawOrigin, answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.http1 import Answer

pytestmark = pytest.mark.usefixtures("processes")

PAGE = "https://a.example"
SITES = {"HEADGATE_HTTP__CORS_ORIGINS": PAGE}
TWICE = (
    *("Cache-Control: max-age=60", "Cache-Control: private", "Vary: X-One", "Vary: X-Two, x-one"),
    *("CDN-Cache-Control: max-age=9", "CDN-Cache-Control: private", "Retry-After: 7"),
    *("X-Accel-Redirect: /secret", "X-Accel-Buffering: yes"),
    *("Retry-After: 9", 'ETag: "a"', 'ETag: "b"', "Link: </a>", "Link: </b>"),
)
SENT = {
    "cache-control": ["max-age=60, private"],
    "cdn-cache-control": ["max-age=9, private"],
    "vary": ["X-One, X-Two, Origin"],
    "retry-after": ["7"],
    "etag": ['"a"'],
    "link": ["</a>", "</b>"],
    "x-accel-redirect": [],
    "x-accel-buffering": [],
}
EVENTS = "Content-Type: text/event-stream"


def lines(told: Answer, names: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: [value for field, value in told.fields if field == name] for name in names}


async def asked(port: int, target: str, body: bytes, **fields: str) -> Answer:
    """Ask while the event loop of this thread runs the server behind the gateway."""
    return await asyncio.to_thread(ask, port, "POST", target, body, **fields)


@pytest.mark.parametrize("status", ["200 OK", "429 Too Many Requests"])
@pytest.mark.parametrize("is_streamed", [True, False])
async def test_a_response_of_a_provider_has_one_line_of_each_list(
    status: str, *, is_streamed: bool
) -> None:
    kind = EVENTS if is_streamed else "Content-Type: application/json"
    body = b"".join(chat_completion()) if is_streamed else b"{}"
    question = json.dumps({"model": "m", "stream": is_streamed}).encode()
    target = f"{OPENAI}/v1/chat/completions"
    async with RawOrigin(answer(body, kind, *TWICE, status=status)) as provider:
        with gateway_before(provider, environment=SITES) as gateway:
            told = await asked(gateway.port, target, question, Authorization="Bearer sk-mine")
    assert told.status == int(status[:3])
    assert lines(told, SENT) == SENT


@pytest.mark.parametrize("codings", [("identity", "gzip"), ("gzip", "identity")])
async def test_a_proxy_stores_no_response_that_is_coded_by_one_of_two_lines(
    codings: tuple[str, str], tmp_path: Path
) -> None:
    coded = answer(b"data", *(f"Content-Encoding: {it}" for it in codings))
    async with RawOrigin(coded) as upstream:
        url = f"{upstream.url.replace('localhost', '127.0.0.1')}/v1/chat"
        with gateway_with_proxy(tmp_path, environment=SITES) as gateway:
            fields = {**SERVICE, "Upstream-URL": url, "Upstream-Method": "POST"}
            told = await asked(gateway.port, PREFIX, b"{}", **fields)
    assert told.status == 502
    assert lines(told, {"vary": []}) == {"vary": ["Origin"]}
