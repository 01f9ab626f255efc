"""The access log: one line at the end of each request, whichever way it goes, with how it ended."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get, offset, post, put, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    Line = dict[str, Any]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[Line]]:
    """What is logged."""
    caplog.set_level(logging.INFO, "headgate")
    with capture_logs() as logged:
        yield logged  # type: ignore[misc] # a MutableMapping is all that it promises


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


async def test_a_hit_with_a_request_id_and_a_tag_is_logged_with_its_id_and_status(
    lines: list[Line],
) -> None:
    async with serving(log_requests="info") as gateway:
        await gateway.ask(put("s", body=b"one"))
        tag = (await gateway.ask(get("s?offset=-1"))).get("ETag")
        for line in (f"If-None-Match: {tag}", 'If-None-Match: "b"'):
            await gateway.ask(get("s?offset=-1", line, "X-Request-Id: mine"))
        assert gateway.fast.answered == 2
    assert [(line["request_id"], *told(line)[2:5]) for line in lines[-2:]] == [
        ("mine", 304, 0, "HIT"),
        ("mine", 200, 3, "HIT"),
    ]


async def test_a_cached_404_is_logged_with_its_status(lines: list[Line]) -> None:
    refusal = answer(b"none", "Cache-Control: max-age=60", status="404 Not Found")
    async with (
        RawOrigin(refusal) as origin,
        edge_serving(origin, log_requests="info") as gateway,
    ):
        for _ in range(2):
            await gateway.ask(get(f"{EDGE}/s"))
        assert gateway.fast.answered == 1
    assert [told(line)[2:5] for line in lines] == [(404, 4, "MISS"), (404, 4, "HIT")]


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


async def test_an_uncached_read_at_an_origin_is_logged_with_its_user_agent(
    lines: list[Line],
) -> None:
    async with (
        RawOrigin(answer(b"x", "Cache-Control: no-store")) as origin,
        edge_serving(origin, log_requests="info") as gateway,
    ):
        for name in ("one", "two"):
            await gateway.ask(get(f"{EDGE}/s", f"User-Agent: {name}"))
    assert [line["user_agent"] for line in lines] == ["one", "two"]


async def test_live_reads_are_logged_when_they_end(lines: list[Line]) -> None:
    async with serving(log_requests="info") as gateway:
        await gateway.ask(put("s", body=b"one"))
        reader = await gateway.connect()
        reader.send(get("s?offset=-1&live=sse"))
        await reader.answer()
        await reader.events_until(lambda events: len(events) == 2)
        gateway.polls_wait(0.01)
        await gateway.ask(get(f"s?offset={offset(3)}&live=long-poll"))
        gateway.polls_wait(30)
        leaver = await gateway.connect()
        leaver.send(get(f"s?offset={offset(3)}&live=long-poll"))
        await until(lambda: gateway.limits.live_readers == 2)
        leaver.abort()
        await until(lambda: len(lines) == 3)
        await gateway.ask(post("s", b"!", "Stream-Closed: true"))
        await reader.events_to_the_end()
        await until(lambda: len(lines) == 5)
        size = len(reader.received)
    of_reads = {str(line["path"]).partition("live=")[2]: line for line in lines}
    assert told(of_reads["sse"]) == ("GET", "/v1/stream", 200, size, "COLLAPSED", "closed")
    assert [told(line)[2:] for line in lines[1:3]] == [
        (204, 0, "COLLAPSED", "timeout"),
        (499, 0, "COLLAPSED", "client"),
    ]


async def test_a_body_that_the_origin_cuts_is_logged_with_the_bytes_written(
    lines: list[Line],
) -> None:
    cut = answer(b"x" * 100, "Cache-Control: no-store")[:-40]

    async def play(wire: Any) -> None:
        await wire.send(cut)
        await wire.close()

    async with RawOrigin(play) as raw, edge_serving(raw, log_requests="info") as gateway:
        client = await gateway.connect()
        client.send(get(f"{EDGE}/a"))
        await until(lambda: any(line["event"] == "request" for line in lines))
    (line,) = (line for line in lines if line["event"] == "request")
    assert told(line) == ("GET", EDGE, 200, 60, "MISS", "error")


async def test_requests_are_not_logged_unless_the_setting_says_so(lines: list[Line]) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        await gateway.ask(get("s"))
    assert lines == []
