"""Spans of requests, as a collector is sent them over OTLP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from headgate.runs import Runs
from tests.support.gated_log import GatedLog
from tests.support.ports import free_port
from tests.support.raw_origin import RawOrigin, Steps, answer
from tests.support.serving import EDGE, PREFIX, edge_serving, get, post, put, request, serving
from tests.support.waiting import until
from tests.telemetry.collector import traced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.telemetry.collector import Collector

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = f"Traceparent: 00-{TRACE}-{SPAN}-01"
READ = f"GET {PREFIX}/{{stream}}"
RUN = f"run {PREFIX}/{{stream}}"
READ_AT_EDGE = f"GET {EDGE}/{{stream}}"
KEPT = ("Cache-Control: max-age=600", "Stream-Next-Offset: 1", "Content-Type: text/plain")


# ---------------------------------------------------------------- requests


async def test_a_read_is_exported_as_a_server_span_with_the_standard_attributes(
    collector: Collector,
) -> None:
    async with traced() as tracer, serving(tracer=tracer) as gateway:
        await gateway.ask(put(f"{PREFIX}/a/b", body=b"data"))
        await gateway.ask(get(f"{PREFIX}/a/b?offset=-1&token=hush", PARENT, "User-Agent: test/1"))
        span = await collector.one(READ)
        assert (span.kind, span.trace_id, span.parent_id) == ("server", TRACE, SPAN)
        assert span.attributes == {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "http.route": f"{PREFIX}/{{stream}}",
            "url.scheme": "http",
            "url.path": f"{PREFIX}/a/b",
            "url.query": "offset=-1&token=[redacted]",
            "headgate.stream.name": "a/b",
            "network.protocol.version": "1.1",
            "server.address": "headgate.test",
            "client.address": "127.0.0.1",
            "user_agent.original": "test/1",
        }
        assert not span.is_error


async def test_a_response_of_the_fast_path_has_an_equal_span(collector: Collector) -> None:
    async with traced() as tracer, serving(tracer=tracer) as gateway:
        await gateway.ask(put("s", body=b"data"))
        await gateway.ask(get("s?offset=-1"))
        handled = gateway.watch_handlers()
        await gateway.ask(get("s?offset=-1"))  # a hit
        await gateway.ask(get("s?offset=-1"))  # by a head that is remembered
        await gateway.ask(get("s?offset=-1", "Connection: close"))
        await gateway.ask(get("s?offset=-1", "Connection: close"))
        assert (len(handled), gateway.fast.answered) == (0, 4)
        first, *others = await collector.several(READ, 5)
        assert [other.attributes for other in others] == [first.attributes] * 4
        assert len({span.trace_id for span in (first, *others)}) == 5


async def test_writes_and_refused_requests_are_spans_with_their_status(
    collector: Collector,
) -> None:
    async with traced() as tracer, serving(tracer=tracer) as gateway:
        await gateway.ask(put("s"))
        await gateway.ask(post("s", b"data"))
        await gateway.ask(get("other"))
        await gateway.ask(request("GET", "/nowhere"))
        await gateway.ask(request("PROPFIND", "s"))
        created = await collector.one(f"PUT {PREFIX}/{{stream}}")
        appended = await collector.one(f"POST {PREFIX}/{{stream}}")
        absent = await collector.one(READ)
        nowhere = await collector.one("GET")
        unusual = await collector.one(f"HTTP {PREFIX}/{{stream}}")
        told = [span.status for span in (created, appended, absent, nowhere, unusual)]
        assert told == [201, 204, 404, 404, 405]
        assert "http.route" not in nowhere.attributes
        assert unusual.attributes["http.request.method"] == "_OTHER"
        assert unusual.attributes["http.request.method_original"] == "PROPFIND"
        assert not any(span.is_error for span in collector.spans)  # they are the clients' own


@pytest.mark.parametrize(
    ("host", "address", "port"),
    [
        ("a.test:8080", "a.test", 8080),
        ("[::1]:80", "::1", 80),
        ("[::1]", "::1", None),
        ("a.test:", "a.test", None),
        ("a b", None, None),
    ],
)
async def test_the_server_address_of_a_span_is_the_host_of_the_request(
    collector: Collector, host: str, address: str | None, port: int | None
) -> None:
    async with traced() as tracer, serving(tracer=tracer) as gateway:
        await gateway.ask(get("s").replace(b"headgate.test", host.encode()))
        span = await collector.one(READ)
        assert span.attributes.get("server.address") == address
        assert span.attributes.get("server.port") == port


async def test_the_spans_of_live_reads_end_with_their_response_heads(collector: Collector) -> None:
    async with traced() as tracer, serving(tracer=tracer) as gateway:
        await gateway.ask(put("s"))
        reader, poller = await gateway.connect(), await gateway.connect()
        reader.send(get("s?offset=-1&live=sse"))
        await reader.head()
        poller.send(get("s?offset=now&live=long-poll"))
        # Both go on waiting while their spans are exported already.
        events, poll = await collector.several(READ, 2)
        assert gateway.limits.live_readers == 2
        if events.attributes["url.query"] != "offset=-1&live=sse":
            events, poll = poll, events
        assert events.status == 200
        assert "http.response.status_code" not in poll.attributes
        assert poll.attributes["headgate.waits"] is True
        assert max(events.duration_s, poll.duration_s) < 5.0
        await gateway.ask(post("s", b"data"))
        assert (await poller.answer()).body == b"data"
        await collector.one(f"POST {PREFIX}/{{stream}}")
        assert len(collector.named(READ)) == 2


async def test_span_attributes_from_a_client_are_cut_and_always_exportable(
    collector: Collector,
) -> None:
    async with traced() as tracer, serving(tracer=tracer) as gateway:
        name = "%3Cb%3E" * 200
        hostile = "User-Agent: <b>\"'\xe9\xff" + "x" * 5000
        await gateway.ask(get(f"{name}?a=%00%E2%80%AE", hostile))
        span = await collector.one(READ)
        assert span.attributes["headgate.stream.name"] == name
        agent = span.attributes["user_agent.original"]
        assert agent.startswith("<b>\"'??xxx")
        assert len(agent) == 2048
        assert span.attributes["url.query"] == "a=%00%E2%80%AE"


async def test_tokens_cookies_and_credentials_of_a_request_are_not_exported(
    collector: Collector,
) -> None:
    async with (
        RawOrigin(answer(b"x", *KEPT)) as origin,
        traced() as tracer,
        edge_serving(origin, tracer=tracer) as gateway,
    ):
        fields = ("Authorization: Bearer hush", "Cookie: a=hush", "X-Api-Key: hush")
        for target in (f"{EDGE}/s?access_token=hush", f"http://u:hush@evil.test{EDGE}/s"):
            await gateway.ask(request("GET", target, *fields))
        await collector.several("GET", 2)  # at the origin, and to the URL of another host
        assert collector.received
        assert b"hush" not in collector.received
        assert b"hush" in origin.heard[0].head


@pytest.mark.parametrize(("flags", "exported"), [("01", 1), ("00", 0)])
async def test_the_traceparent_flag_of_the_caller_decides_if_a_span_is_exported(
    collector: Collector, flags: str, exported: int
) -> None:
    async with traced() as tracer, serving(tracer=tracer) as gateway:
        await gateway.ask(get("s", f"Traceparent: 00-{TRACE}-{SPAN}-{flags}"))
        await gateway.ask(get("last"))
        await until(lambda: any(span.trace_id != TRACE for span in collector.spans))
        assert [span.trace_id for span in collector.spans].count(TRACE) == exported


async def test_a_malformed_traceparent_header_begins_a_new_trace(collector: Collector) -> None:
    async with traced() as tracer, serving(tracer=tracer) as gateway:
        await gateway.ask(get("s", f"Traceparent: 00-{TRACE}-{SPAN}", "Tracestate: a=1"))
        span = await collector.one(READ)
        assert span.trace_id != TRACE
        assert span.parent_id == ""


# ---------------------------------------------------------------- origins


async def test_a_request_to_an_origin_is_a_child_span_and_its_traceparent_is_sent(
    collector: Collector,
) -> None:
    async with (
        RawOrigin(answer(b"x", *KEPT)) as origin,
        traced() as tracer,
        edge_serving(origin, tracer=tracer) as gateway,
    ):
        await gateway.ask(get(f"{EDGE}/s", PARENT, "Tracestate: a=1"))
        server, client = await collector.one(READ_AT_EDGE), await collector.one("GET")
        assert client.kind == "client"
        assert (client.trace_id, client.parent_id) == (TRACE, server.span_id)
        assert client.attributes == {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "url.full": f"{origin.url}{EDGE}/s",
            "server.address": "localhost",
            "server.port": origin.port,
        }
        assert origin.heard[0].named["traceparent"] == client.traceparent
        assert origin.heard[0].named["tracestate"] == "a=1"
        traced_ids = gateway.edge.origin.figures.duration.traced.values()
        assert [one.trace_id for one in traced_ids] == [TRACE]


async def test_the_tracestate_of_a_trace_that_is_not_continued_is_not_forwarded(
    collector: Collector,
) -> None:
    async with (
        RawOrigin(answer(b"x", *KEPT)) as origin,
        traced() as tracer,
        edge_serving(origin, tracer=tracer) as gateway,
    ):
        await gateway.ask(get(f"{EDGE}/s", "Traceparent: none", "Tracestate: a=1"))
        client = await collector.one("GET")
        assert origin.heard[0].named["traceparent"] == client.traceparent
        assert "tracestate" not in origin.heard[0].named


async def test_the_span_of_a_collapsed_request_links_to_the_span_of_the_first(
    collector: Collector,
) -> None:
    script = Steps(b"", answer(b"x", *KEPT))
    async with (
        RawOrigin(script) as origin,
        traced() as tracer,
        edge_serving(origin, tracer=tracer) as gateway,
    ):
        leader, joiner = await gateway.connect(), await gateway.connect()
        leader.send(get(f"{EDGE}/s", PARENT))
        await until(lambda: len(origin.heard) == 1)
        joiner.send(get(f"{EDGE}/s"))
        await until(lambda: gateway.edge.cache.fetches.collapsed == 1)
        script.go()
        assert (await leader.answer()).body == (await joiner.answer()).body == b"x"
        client = await collector.one("GET")
        first, second = await collector.several(READ_AT_EDGE, 2)
        if first.trace_id != TRACE:
            first, second = second, first
        assert client.parent_id == first.span_id
        assert (first.links, second.links) == ([], [client.span_id])


async def test_an_unreachable_origin_marks_both_spans_as_errors(collector: Collector) -> None:
    port = free_port()
    async with (
        traced() as tracer,
        edge_serving(f"http://localhost:{port}", tracer=tracer) as gateway,
    ):
        assert (await gateway.ask(get(f"{EDGE}/s"))).status == 502
        client, server = await collector.one("GET"), await collector.one(READ_AT_EDGE)
        assert (client.is_error, server.is_error) == (True, True)
        assert client.attributes["error.type"] == "origin_unreachable"
        assert server.attributes["error.type"] == "502"


@pytest.mark.usefixtures("late_fins")
async def test_a_client_that_disconnects_ends_its_spans_without_a_status(
    collector: Collector,
) -> None:
    async with (
        RawOrigin(Steps(b"")) as origin,
        traced() as tracer,
        edge_serving(origin, tracer=tracer) as gateway,
    ):
        client = await gateway.connect()
        client.send(get(f"{EDGE}/s"))
        await until(lambda: len(origin.heard) == 1)
        client.abort()
        server = await collector.one(READ_AT_EDGE)
        assert server.attributes["error.type"] == "client_gone"
        assert "http.response.status_code" not in server.attributes
        await collector.one("GET")


async def test_the_long_poll_of_a_feed_at_the_origin_has_no_span(collector: Collector) -> None:
    fields = ("Stream-Next-Offset: 1", "Stream-Up-To-Date: true", "Content-Type: text/plain")
    read = answer(b"x", *fields)
    async with (
        RawOrigin(read, Steps(b"")) as origin,
        traced() as tracer,
        edge_serving(origin, tracer=tracer) as gateway,
    ):
        reader = await gateway.connect()
        reader.send(get(f"{EDGE}/s?offset=1&live=sse", PARENT))
        await until(lambda: len(origin.heard) == 2)
        await collector.one(READ_AT_EDGE)
        assert "live=long-poll" in origin.heard[1].target
        assert "traceparent" not in origin.heard[1].named
        assert len(await collector.several("GET", 1)) == 1


async def test_trace_headers_are_forwarded_unchanged_without_a_tracer() -> None:
    async with RawOrigin(answer(b"x", *KEPT)) as origin, edge_serving(origin) as gateway:
        await gateway.ask(get(f"{EDGE}/s", PARENT, "Tracestate: a=1"))
        assert origin.heard[0].named["traceparent"] == f"00-{TRACE}-{SPAN}-01"
        assert origin.heard[0].named["tracestate"] == "a=1"


# ---------------------------------------------------------------- writes

APPEND = f"POST {PREFIX}/{{stream}}"


async def test_pipelined_writes_each_get_a_span_and_an_answer(
    collector: Collector,
) -> None:
    log = GatedLog()
    async with traced() as tracer, serving(log, tracer=tracer) as gateway:
        await gateway.ask(put("s"))
        await gateway.ask(post("s", b"0"))
        log.commits.clear()
        client = await gateway.connect()
        client.send(post("s", b"1") * 3)
        await until(lambda: gateway.route.writes.outcomes.pending == 1)
        log.commits.set()
        assert [(await client.answer()).status for _ in range(3)] == [204] * 3
        assert len(await collector.several(APPEND, 4)) == 4


# ---------------------------------------------------------------- runs


async def test_a_run_that_has_ended_is_a_span_and_a_trace_of_its_own(collector: Collector) -> None:
    async def words() -> AsyncIterator[str]:
        yield "one"
        yield "two"

    async def failing() -> AsyncIterator[str]:
        yield "one"
        raise ConnectionError

    async with (
        traced() as tracer,
        serving(tracer=tracer, own={"runs": True}) as gateway,
        aiohttp.ClientSession(headers=dict([PARENT.split(": ")])) as session,
        Runs(f"http://127.0.0.1:{gateway.port}{PREFIX}/chats", session=session) as runs,
    ):
        await runs.start("good", words())
        (good,) = await collector.several(RUN, 1)
        await runs.start("bad", failing())
        _, bad = await collector.several(RUN, 2)
        for span in (good, bad):
            assert (span.kind, span.parent_id, span.links) == ("internal", "", [])
        assert len({TRACE, good.trace_id, bad.trace_id}) == 3
        first_s = good.attributes.pop("gen_ai.response.time_to_first_chunk")
        assert 0 < first_s <= good.duration_s
        assert good.attributes == {
            "http.route": f"{PREFIX}/{{stream}}",
            "headgate.stream.name": "chats/good",
            "headgate.run.status": "finished",
            "headgate.run.items": 2,
        }
        assert not good.is_error
        assert (bad.is_error, bad.attributes["error.type"]) == (True, "failed")
