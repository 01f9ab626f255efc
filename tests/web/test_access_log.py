"""The access log: one line at the end of each request, whichever way it goes, with how it ended."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.guarded_gateway import CANARY, tokens_file
from tests.support.log_lines import capture_logs
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get, post, put, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Line = dict[str, Any]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[Line]]:
    """What is logged."""
    caplog.set_level(logging.INFO, "headgate")
    with capture_logs() as logged:
        yield logged


def told(line: Line) -> tuple[object, ...]:
    return tuple(line[name] for name in ("method", "route", "status", "bytes", "cache", "ended"))


async def test_each_request_of_any_kind_ends_in_one_access_log_line(lines: list[Line]) -> None:
    async with serving(log_requests="info") as gateway:
        await gateway.ask(put("s", body=b"one"))
        missed = await gateway.ask(get("s?token=secret", "X-Request-Id: mine"))
        await gateway.ask(get("s?offset=-1", "X-Forwarded-For: 192.0.2.7, 198.51.100.1"))
        assert gateway.fast.answered == 1
        await gateway.ask(post("s", b"four"))
        lost = await gateway.ask(get("/elsewhere"))
        broken = await gateway.ask(b"NO HTTP\r\n\r\n")
    route = "/v1/stream"
    assert [told(line) for line in lines] == [
        ("PUT", route, 201, 0, "BYPASS", "answered"),
        ("GET", route, 200, 3, "MISS", "answered"),
        ("GET", route, 200, 3, "HIT", "answered"),
        ("POST", route, 204, 0, "BYPASS", "answered"),
        ("GET", "none", 404, len(lost.body), "BYPASS", "answered"),
        ("-", "none", 400, len(broken.body), "BYPASS", "answered"),
    ]
    assert {line["event"] for line in lines} == {"request"}
    assert {line["client"] for line in lines} == {"127.0.0.1"}
    assert (lines[1]["request_id"], missed.get("X-Request-Id")) == ("mine", "mine")
    assert lines[-1]["request_id"] == broken.get("X-Request-Id")
    assert lines[1]["path"] == "/v1/stream/s?token=[redacted]"
    assert ["forwarded_for" in line for line in lines] == [False, False, True, *[False] * 3]
    assert lines[2]["forwarded_for"] == "192.0.2.7, 198.51.100.1"
    assert all(isinstance(line["duration_us"], int) for line in lines)


async def test_the_user_agent_is_logged_up_to_its_length_limit(lines: list[Line]) -> None:
    said = ["User-Agent: curl/8.5.0 (x)", f"User-Agent: {'a' * 300}"]
    async with serving(log_requests="info") as gateway:
        await gateway.ask(put("s", said[0], body=b"one"))
        await gateway.ask(get("s?offset=-1", said[0]))  # by a task
        await gateway.ask(get("s?offset=-1", said[1]))
        await gateway.ask(get("s?offset=-1"))
        assert gateway.fast.answered == 2
        await gateway.ask(post("s", b"two", said[1]))
    short, long = "curl/8.5.0 (x)", "a" * 200
    assert [line.get("user_agent") for line in lines] == [short, short, long, None, long]


async def test_an_uncached_read_at_an_origin_logs_its_user_agent(lines: list[Line]) -> None:
    async with (
        RawOrigin(answer(b"x", "Cache-Control: no-store")) as origin,
        edge_serving(origin, log_requests="info") as gateway,
    ):
        for name in ("one", "two"):
            await gateway.ask(get(f"{EDGE}/s", f"User-Agent: {name}"))
    assert [line["user_agent"] for line in lines] == ["one", "two"]


async def test_a_planned_read_of_an_open_route_is_logged_without_the_token_in_its_url(
    lines: list[Line], tmp_path: Path
) -> None:
    """Another route has a guard, so that the token may be one of its tokens."""
    tokens = str(tokens_file(tmp_path))
    own = {"auth": "tokens"}
    async with (
        RawOrigin(answer(b"x", "Cache-Control: max-age=60")) as origin,
        edge_serving(origin, log_requests="info", tokens_file=tokens, own=own) as gateway,
    ):
        client = await gateway.connect()
        for number in range(3):
            read = get(f"{EDGE}/s?offset={number}&amp;token={CANARY}")
            assert (await client.ask(read)).status == 200
        assert gateway.fast.plans.read_routes
    assert len(lines) == 3
    assert CANARY not in repr(lines)


async def test_requests_are_not_logged_unless_the_setting_says_so(lines: list[Line]) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        await gateway.ask(get("s"))
    assert lines == []
