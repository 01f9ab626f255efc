"""The library sends the cursor of a response with the next request, and its parameters sorted."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from headgate.following import follow, long_poll, sse
from headgate.stream_requests import StreamRequests
from tests.support.raw_origin import RawOrigin, answer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from headgate.endpoint import Endpoint
    from headgate.following import Batch

TEXT, EVENTS = "Content-Type: text/plain", "Content-Type: text/event-stream"
POLLED = [
    answer(b"a", TEXT, "Stream-Next-Offset: 2", "Stream-Cursor: 77"),
    answer(b"b", TEXT, "Stream-Next-Offset: 3", "Stream-Closed: true"),
]
SENT = [
    answer(
        b"event: data\ndata: a\n\nevent: control\n"
        b'data: {"streamNextOffset":"2","streamCursor":"77"}\n\n',
        EVENTS,
    ),
    answer(
        b"event: data\ndata: b\n\nevent: control\n"
        b'data: {"streamNextOffset":"3","streamClosed":true}\n\n',
        EVENTS,
    ),
]


@pytest.mark.parametrize(
    ("live", "mode", "scripts"),
    [
        pytest.param(long_poll, "long-poll", POLLED, id="long-poll"),
        pytest.param(sse, "sse", SENT, id="sse"),
    ],
)
@pytest.mark.parametrize(
    ("query", "rest"),
    [
        pytest.param("", "", id="a url without a query"),
        pytest.param("?z=2&read=a%2Bb&z=1", "&read=a%2Bb&z=2&z=1", id="a url with one"),
    ],
)
async def test_the_cursor_of_a_response_is_sent_with_the_next_request_in_sorted_order(
    live: Callable[[Endpoint, str, str | None], AsyncGenerator[Batch]],
    mode: str,
    scripts: list[bytes],
    query: str,
    rest: str,
) -> None:
    async with RawOrigin(*scripts) as origin:
        async with (
            StreamRequests(f"{origin.url}/s{query}") as stream,
            aclosing(follow(stream, "1", live)) as batches,
        ):
            bodies = [body async for batch in batches for body in batch.bodies]
        assert bodies == [b"a", b"b"]
        assert origin.lines() == [
            f"GET /s?live={mode}&offset=1{rest}",
            f"GET /s?cursor=77&live={mode}&offset=2{rest}",
        ]
