"""What is counted, logged and sent of an answer is a fact of it: nothing searches its lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from msgspec.structs import replace

from headgate_gateway.web.handlers.dispatch import Handlers
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get, post, put

if TYPE_CHECKING:
    from headgate_gateway.routes.answers import RouteAnswer


class Unsearchable(bytes):
    """Header lines that can be written, and in which nothing can be looked for."""

    def _refuse(self, *_: object) -> NoReturn:
        raise AssertionError("header lines of an answer are searched")

    find = index = rfind = rindex = partition = rpartition = split = splitlines = _refuse  # type: ignore[assignment]
    startswith = endswith = decode = lower = upper = count = __contains__ = _refuse  # type: ignore[assignment]


@pytest.mark.parametrize("is_logged", [False, True], ids=["", "logged"])
async def test_no_answer_is_counted_logged_or_sent_by_searching_its_lines(
    monkeypatch: pytest.MonkeyPatch, is_logged: bool
) -> None:
    decided = Handlers.answer

    def unsearchable(self: Handlers, request: Any, given: RouteAnswer | None, **more: Any) -> Any:
        if given is not None:
            cache = replace(given.cache, lines=Unsearchable(given.cache.lines))
            given = replace(given, lines=Unsearchable(given.lines), cache=cache)
        return decided(self, request, given, **more)

    monkeypatch.setattr(Handlers, "answer", unsearchable)
    live = ("Accept: text/event-stream", "Cache-Control: no-cache")
    asked = [
        (put("s", body=b"one"), 201),
        (post("s", b"two"), 204),
        (get("s?offset=-1", "If-None-Match: x"), 200),
        (get("s?offset=now"), 200),
        (get("none?offset=-1"), 404),
        (get("none?offset=-1&live=sse", *live), 404),
        (get("s?offset=-1&live=sse", *live), 200),
        (get(f"{EDGE}/s"), 200),
        (get(f"{EDGE}/s", 'If-None-Match: "x"'), 200),
        (get(f"{EDGE}/s?a", "Range: bytes=0-1"), 206),
        (post(f"{EDGE}/s", b"two"), 200),
    ]
    said = answer(b"one", "Stream-Next-Offset: b", "Content-Type: text/plain")
    log_requests = "info" if is_logged else "off"
    async with (
        RawOrigin(said) as origin,
        edge_serving(origin, log_requests=log_requests) as gateway,
    ):
        for request, status in asked:
            client = await gateway.connect()
            client.send(request)
            assert (await client.head()).status == status, request
