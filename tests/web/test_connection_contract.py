"""What connections promise."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.web.connections.requests import ConnectionRequests
from tests.support.serving import PREFIX, get, offset, post, put, request, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.web.requests.request import Request
    from headgate_gateway.web.requests.responses import WireResponse

UNLIKE = {"date", "etag", "x-request-id"}
ORDINARY = "X-Request-Id:asked-for"


# ---------------------------------------------------------------- one answer, two ways


SETUP = [
    put("s", body=b"one"),
    put("json", body=b"[1]", content_type="application/json"),
    put("closed", "Stream-Closed: true", body=b"end"),
    put("seq"),
    post("seq", b"a", "Stream-Seq: b"),
    put("producers"),
    post("producers", b"a", "Producer-Id: p", "Producer-Epoch: 3", "Producer-Seq: 0"),
]
CHUNKED = post("s", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
STAMP = ("Producer-Id: p", "Producer-Epoch: 3")
TAIL = offset(3)

READS = [
    "s",
    "s?offset=-1",
    f"s?offset={TAIL}",
    "s?offset=now",
    "s?offset=-1&live=long-poll",
    f"{PREFIX}/s?cursor=7&live=long-poll&offset=-1",
    "json?offset=-1",
    "closed?offset=-1",
    pytest.param(f"closed?offset={TAIL}&live=long-poll", id="a poll at the end of a closed stream"),
    f"s?offset={offset(4)}",
    f"s?offset={offset(1)}",
    "s?offset=bad",
    "s?live=long-poll",
    "nothing?offset=-1",
    "nothing?offset=-1&live=long-poll",
    f"{PREFIX}/__ds/x",
    "/elsewhere",
    f"{PREFIX}/a//b",
    f"{PREFIX}/%zz",
    f"http://headgate.test{PREFIX}/s?offset=-1",
    f"http://other.test{PREFIX}/s?offset=-1",
]


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("target", READS)
async def test_a_read_gets_the_same_response_on_both_paths(target: str, warm: bool) -> None:
    async with serving() as gateway:
        client = await gateway.connect()
        for data in SETUP:
            await client.ask(data)
        if warm:
            await client.ask(get(target))
        fast = await client.ask(get(target))
        ordinary = await client.ask(get(target, ORDINARY))
        assert fast.same == ordinary.same
        conditional = await client.ask(get(target, f"If-None-Match: {fast.get('ETag')}"))
        status = 304 if fast.get("ETag") is not None else fast.status
        assert conditional.status == status


APPENDS = [
    pytest.param(post("s", b"two"), id="an-append"),
    pytest.param(post("s", b"two", "Stream-Closed: true"), id="a-closing-append"),
    pytest.param(post("s", b"", "Stream-Closed: true"), id="a-close"),
    pytest.param(post("s", b""), id="an-empty-append"),
    pytest.param(post("s", b"two", content_type="text/html"), id="another-content-type"),
    pytest.param(request("POST", "s", body=b"two"), id="no-content-type"),
    pytest.param(post("json", b"[1,2]", content_type="application/json"), id="a-json-array"),
    pytest.param(post("json", b"[]", content_type="application/json"), id="an-empty-json-array"),
    pytest.param(post("json", b"[1,", content_type="application/json"), id="malformed-json"),
    pytest.param(post("closed", b"more"), id="an-append-to-a-closed-stream"),
    pytest.param(post("closed", b"", "Stream-Closed: true"), id="a-close-of-a-closed-stream"),
    pytest.param(post("seq", b"x", "Stream-Seq: c"), id="a-higher-stream-seq"),
    pytest.param(post("seq", b"x", "Stream-Seq: a"), id="a-lower-stream-seq"),
    pytest.param(post("seq", b"x", f"Stream-Seq: {'s' * 1025}"), id="a-stream-seq-over-the-limit"),
    pytest.param(post("producers", b"x", *STAMP, "Producer-Seq: 1"), id="the-next-producer-seq"),
    pytest.param(post("producers", b"x", *STAMP, "Producer-Seq: 0"), id="a-repeated-producer-seq"),
    pytest.param(
        post("producers", b"x", *STAMP, "Producer-Seq: 2"), id="a-producer-seq-behind-a-gap"
    ),
    pytest.param(
        post("producers", b"x", "Producer-Id: p", "Producer-Epoch: 2", "Producer-Seq: 0"),
        id="a-new-producer-epoch",
    ),
    pytest.param(post("producers", b"x", *STAMP), id="a-producer-without-a-seq"),
    pytest.param(post("nothing", b"x"), id="an-absent-stream"),
    pytest.param(post(f"{PREFIX}/__ds/x", b"x"), id="a-reserved-path"),
    pytest.param(post("/elsewhere", b"x"), id="a-path-outside-of-all-routes"),
    pytest.param(post(f"{PREFIX}/a//b", b"x"), id="a-path-with-an-empty-segment"),
    pytest.param(post(f"{PREFIX}/%zz", b"x"), id="a-malformed-path"),
    pytest.param(post("s?x=1&x=2", b"x"), id="a-repeated-query-key"),
    pytest.param(post("s?x=%zz", b"x"), id="a-malformed-query"),
    pytest.param(post("s?x=1", b"x"), id="an-unknown-query-key"),
    pytest.param(post(f"http://headgate.test{PREFIX}/s", b"x"), id="a-url-of-this-host"),
    pytest.param(post(f"http://other.test{PREFIX}/s", b"x"), id="a-url-of-another-host"),
    pytest.param(post("s", b"x", "Content-Encoding: gzip"), id="a-gzip-body"),
    pytest.param(post("s", b"x", "Content-Encoding: identity"), id="an-identity-body"),
    pytest.param(post("s", b"x" * 2049), id="a-body-over-the-limit"),
    pytest.param(post("s", b"x" * 2048), id="a-body-at-the-limit"),
]


@pytest.mark.parametrize("append", APPENDS)
async def test_an_append_gets_the_same_response_on_both_paths(append: bytes) -> None:
    answers = []
    for extra in ("", f"{ORDINARY}\r\n"):
        async with serving(max_append=2048) as gateway:
            client = await gateway.connect()
            for data in SETUP:
                await client.ask(data)
            head, _, body = append.partition(b"\r\n\r\n")
            answer = await client.ask(head + b"\r\n" + extra.encode() + b"\r\n" + body)
            read = await client.ask(get("s?offset=-1"))
            answers.append((answer.same, read.body, read.get("Stream-Closed")))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    "lines", [("GET", "s?offset=-1"), ("GET", "s?offset=bad"), ("POST", "s")], ids=str
)
async def test_keep_alive_is_the_same_on_the_fast_and_ordinary_paths(
    lines: tuple[str, str], version: str, connection: str
) -> None:
    method, target = lines
    body = b"x" if method == "POST" else b""
    wishes = (f"Connection: {connection}", "Content-Type: text/plain")
    answers = []
    for extra in ([], [ORDINARY]):
        async with serving() as gateway:
            await gateway.ask(put("s", body=b"one"))
            await gateway.ask(get("s?offset=-1"))
            client = await gateway.connect()
            data = request(method, target, *wishes, *extra, body=body, version=version)
            answer = await client.ask(data)
            told = answer.get("Connection")
            if connection == "close":
                assert await client.rest() == b""
                assert told in ({"close"} if version == "1.1" else {"close", None})
            else:
                assert told == ("keep-alive" if version == "1.0" else None)
                assert (await client.ask(data)).status < 500
            # The ETag names the stream, of which each gateway has its own.
            answers.append([field for field in answer.fields if field[0] not in UNLIKE])
    assert answers[0] == answers[1]


async def test_a_waiting_poll_gets_the_same_response_on_the_fast_and_ordinary_paths() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        target = f"{PREFIX}/s?live=long-poll&offset={TAIL}"
        fast, ordinary = await gateway.connect(), await gateway.connect()
        for expected in (204, 200, 204):
            gateway.polls_wait(30 if expected == 200 else 1.0)  # for both to wait at once
            handled = gateway.watch_handlers()
            fast.send(get(target))
            ordinary.send(get(target, ORDINARY))
            await until(lambda: gateway.limits.live_readers == 2)
            assert len(handled) == 1
            if expected == 200:
                await gateway.ask(post("s", b"two"))
                target = f"{PREFIX}/s?live=long-poll&offset={offset(6)}"
            answers = [await fast.answer(), await ordinary.answer()]
            assert [answer.status for answer in answers] == [expected, expected]
            assert answers[0].same == answers[1].same
        assert gateway.limits.live_readers == 0


# ---------------------------------------------------------------- pipelines


async def test_responses_to_mixed_pipelined_requests_are_sent_in_order() -> None:
    """Hits, appends, parked polls and requests of the ordinary way, mixed on one connection."""
    async with serving() as gateway:
        client = await gateway.connect()
        await client.ask(put("s", body=b"0"))
        await client.ask(put("log"))
        await client.ask(get("s?offset=-1"))
        poll = f"{PREFIX}/s?live=long-poll&offset={offset(1)}"
        client.send(
            b"".join(
                [
                    get("s?offset=-1"),
                    post("log", b"a"),
                    get("log?offset=-1", ORDINARY),
                    get(poll),
                    post("log", b"b"),
                    request("HEAD", "log"),
                    get("s?offset=bad"),
                    get("log?offset=-1"),
                    post("log", b"c"),
                    get("log?offset=-1"),
                ]
            )
        )
        assert (await client.answer()).body == b"0"
        assert (await client.answer()).status == 204
        assert (await client.answer()).body == b"a"
        await until(lambda: gateway.limits.live_readers == 1)
        await gateway.ask(post("s", b"1"))
        assert (await client.answer()).body == b"1"
        assert (await client.answer()).status == 204
        head = await client.answer(to_head=True)
        assert (head.status, head.get("Stream-Next-Offset")) == (200, offset(2))
        assert (await client.answer()).status == 400
        assert (await client.answer()).body == b"ab"
        assert (await client.answer()).status == 204
        assert (await client.answer()).body == b"abc"


async def test_requests_pipelined_behind_a_waiting_poll_are_answered_after_it() -> None:
    async with serving() as gateway:
        client = await gateway.connect()
        await client.ask(put("s", body=b"0"))
        await client.ask(get("s?offset=-1"))
        client.send(get(f"s?live=long-poll&offset={offset(1)}"))
        await until(lambda: gateway.limits.live_readers == 1)
        filler = b"".join(post("s", b"x" * 1000) for _ in range(200))
        client.send(filler + get("s?offset=-1"))
        await gateway.ask(post("s", b"1"))
        assert (await client.answer()).body == b"1"
        for number in range(200):
            answer = await client.answer()
            assert answer.status == 204
            assert answer.get("Stream-Next-Offset") == offset(2 + 1000 * (number + 1))
        assert len((await client.answer()).body) == 200_002


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(get("s?offset=-1"), 200, id="a-read"),
        pytest.param(get("s?offset=-1", ORDINARY), 200, id="a-read-on-the-ordinary-path"),
        pytest.param(post("s", b"two"), 204, id="an-append"),
        pytest.param(post("s", b"two", ORDINARY), 204, id="an-append-on-the-ordinary-path"),
        pytest.param(CHUNKED + b"3\r\ntwo\r\n2\r\n!!\r\n0\r\n\r\n", 204, id="an-append-in-chunks"),
        pytest.param(put("t", body=b"abc"), 201, id="a-creation"),
        pytest.param(request("DELETE", "s"), 204, id="a-delete"),
        pytest.param(request("HEAD", "s"), 200, id="a-head-request"),
        pytest.param(request("PATCH", "s"), 405, id="an-unknown-method"),
    ],
)
async def test_a_request_sent_byte_by_byte_is_answered(data: bytes, status: int) -> None:
    async with serving() as gateway:
        client = await gateway.connect()
        await client.ask(put("s", body=b"one"))
        await client.send_slowly(data)
        assert (await client.answer(to_head=data.startswith(b"HEAD"))).status == status
        goes_on = b"chunked" not in data
        assert (await (client if goes_on else gateway).ask(put("u"))).status == 201


# ---------------------------------------------------------------- bounds


@pytest.mark.usefixtures("quick_sweeps")
async def test_a_head_that_is_not_completed_in_time_ends_the_connection() -> None:
    async with serving(header_timeout=1.0) as gateway:
        silent, slow = await gateway.connect(), await gateway.connect()
        slow.send(get("s?offset=-1")[:-2])
        used = await gateway.connect()
        assert (await used.ask(get("s?offset=-1"))).status == 404
        used.send(b"GET /")
        assert [await client.rest() for client in (silent, slow, used)] == [b"", b"", b""]
        assert gateway.limits.refused["header_timeout"] == 3


@pytest.mark.usefixtures("quick_sweeps")
async def test_an_idle_connection_is_closed_after_the_keepalive_timeout() -> None:
    async with serving(keepalive_timeout=2.0, header_timeout=1.0) as gateway:
        await gateway.ask(put("s", body=b"one"))
        await gateway.ask(get("s?offset=-1"))
        loop = asyncio.get_running_loop()
        client = await gateway.connect()
        began = loop.time()  # before the connection is idle: what takes its time is added
        assert (await client.ask(get(f"{PREFIX}/s?offset=-1"))).body == b"one"
        handled = gateway.watch_handlers()
        assert await client.rest() == b""
        assert loop.time() - began > 1.9
        assert not handled


@pytest.mark.usefixtures("quick_sweeps")
async def test_a_shorter_keepalive_timeout_also_ends_connections_that_are_idle() -> None:
    async with serving(keepalive_timeout=30.0) as gateway:
        client = await gateway.connect()
        await client.ask(put("s"))
        gateway.server.serve(gateway.server.handlers, gateway.server.fast, 0.1)
        assert await client.rest() == b""


@pytest.mark.usefixtures("quick_sweeps")
async def test_a_connection_that_rests_after_its_sse_response_is_closed_and_not_refused() -> None:
    async with serving(keepalive_timeout=1.0, header_timeout=0.1, sse_max_age=1.0) as gateway:
        await gateway.ask(put("s", body=b"one"))
        client = await gateway.connect()
        client.send(get("s?offset=-1&live=sse"))
        assert (await client.rest()).endswith(b"\r\n0\r\n\r\n")
        assert gateway.limits.refused["header_timeout"] == 0


async def test_a_waiting_poll_is_not_closed_by_the_keepalive_timeout() -> None:
    async with serving(keepalive_timeout=0.1, long_poll_timeout=0.6) as gateway:
        client = await gateway.connect()
        # All at once: between two of them the connection would be idle, and not for long.
        poll = get(f"s?live=long-poll&offset={offset(0)}")
        client.send(put("s") + get("s?offset=-1") + poll)
        assert [(await client.answer()).status for _ in range(2)] == [201, 200]
        answer = await client.answer()
        assert (answer.status, answer.get("Stream-Up-To-Date")) == (204, "true")
        # Aiohttp reads the rest of a refused body after its response: idle time counts from there.
        client = await gateway.connect()
        client.send(request("PATCH", "s", "Content-Length: 4"))
        assert (await client.answer()).status == 405
        client.send(b"body" + get(f"s?live=long-poll&offset={offset(0)}"))
        answer = await client.answer()
        assert (answer.status, answer.get("Stream-Up-To-Date")) == (204, "true")


@pytest.mark.parametrize("pieces", [1, 2])
async def test_a_request_behind_an_event_stream_is_not_answered(pieces: int) -> None:
    """It ends with the events, for the client to ask again on another one."""
    async with serving(header_timeout=30.0) as gateway:
        await gateway.ask(put("closed", "Stream-Closed: true", body=b"end"))
        client = await gateway.connect()
        both = [get("closed?offset=-1&live=sse"), get("closed?offset=-1")]
        if pieces == 1:
            both = [b"".join(both)]
        for piece in both:
            client.send(piece)
        assert (await client.answer()).status == 200
        events = await client.rest()
        assert b'"streamClosed":true' in events
        assert events.endswith(b"0\r\n\r\n")


async def test_a_connection_over_the_limit_gets_503_and_is_closed() -> None:
    async with serving(max_connections=2) as gateway:
        clients = [await gateway.connect() for _ in range(2)]
        for client in clients:
            assert (await client.ask(request("OPTIONS", "s"))).status == 204
        third = await gateway.connect()
        refusal = await third.answer()
        assert (refusal.status, refusal.get("Connection")) == (503, "close")
        assert b'"max_connections is reached"' in refusal.body
        assert refusal.get("Retry-After") == "1"
        assert await third.rest() == b""
        assert gateway.limits.refused["max_connections"] == 1
        clients[0].close()
        await until(lambda: gateway.limits.connections == 1)
        again = await gateway.connect()
        assert (await again.ask(request("OPTIONS", "s"))).status == 204


@pytest.mark.parametrize(("size", "status"), [(1023, 204), (1024, 204), (1025, 413)])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("extra", [(), (ORDINARY,)])
async def test_a_connection_stays_open_after_a_body_over_the_limit_with_a_length(
    size: int, status: int, chunked: bool, extra: tuple[str, ...]
) -> None:
    async with serving(max_append=1024) as gateway:
        client = await gateway.connect()
        await client.ask(put("s"))
        data = post("s", b"x" * size, *extra)
        if chunked:
            head = post("s", b"", *extra).replace(
                b"Content-Length: 0", b"Transfer-Encoding: chunked"
            )
            data = head + b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n"
        answer = await client.ask(data)
        assert answer.status == status
        # After a chunked body the parser could take a trailer for the next request's header.
        assert answer.get("Connection") == ("close" if chunked else None)
        read = await (gateway if chunked else client).ask(get("s?offset=-1"))
        assert len(read.body) == (size if status == 204 else 0)


async def test_bytes_after_the_last_request_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even what comes between the answer and the end of the connection."""
    on_over = ConnectionRequests.on_over
    rest = post("s", b"two")

    def late(
        requests: ConnectionRequests, over: Request, reply: WireResponse | None, *, has_more: bool
    ) -> None:
        on_over(requests, over, reply, has_more=has_more)
        requests.wire.data_received(rest[5:])

    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        client = await gateway.connect()
        monkeypatch.setattr(ConnectionRequests, "on_over", late)
        client.send(CHUNKED + b"1\r\n!\r\n0\r\n\r\n" + rest[:5])
        assert (await client.answer()).get("Connection") == "close"
        assert await client.rest() == b""
        monkeypatch.undo()
        assert (await gateway.ask(get("s?offset=-1"))).body == b"one!"


async def test_a_body_that_stalls_gets_408() -> None:
    async with serving(body_timeout=0.2) as gateway:
        client = await gateway.connect()
        await client.ask(put("s"))
        client.send(post("s", b"abcdef")[:-3])
        answer = await client.answer()
        assert (answer.status, answer.get("Connection")) == (408, "close")


@pytest.mark.parametrize("target", ["s?offset=-1&live=sse", f"s?offset={TAIL}&live=long-poll"])
async def test_a_live_reader_needs_no_task_of_its_own(target: str) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        await until(lambda: gateway.limits.connections == 0 and len(asyncio.all_tasks()) == 1)
        clients = [await gateway.connect() for _ in range(20)]
        for client in clients:
            client.send(get(target))
            if "sse" in target:
                assert (await client.answer()).status == 200
                await client.event_bytes_until(b'"upToDate":true}\n\n')
        await until(lambda: gateway.limits.live_readers == 20)
        await until(lambda: len(asyncio.all_tasks()) == 1)
        assert gateway.limits.connections == 20
        for client in clients:
            client.close()
        await until(lambda: gateway.limits.connections == 0)
        assert gateway.limits.live_readers == 0
