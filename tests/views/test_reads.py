"""Reads of views over HTTP: what clients get, and where they go on."""

from __future__ import annotations

import asyncio

import pytest

from tests.models.answers import chat_completion, message, response
from tests.support.serving import get, offset, post, put, request, serving
from tests.support.waiting import until
from tests.views.reading import (
    EVENTS,
    JSON,
    VIEWS,
    close,
    complete,
    follow,
    rendered,
    to_the_end,
    values,
    view_events,
    written,
)

ANSWERS = {"chat": chat_completion(), "responses": response(), "messages": message()}


async def test_an_unknown_view_is_refused_with_the_list_of_views() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        answer = await gateway.ask(get("s?view=html"))
        answer.assert_problem(400, "view", "raw", *VIEWS)


async def test_the_raw_view_is_the_response_without_the_parameter() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        assert (await gateway.ask(get("s?view=raw"))).same == (await gateway.ask(get("s"))).same


@pytest.mark.parametrize("view", VIEWS)
async def test_a_rendered_view_is_live_with_live_sse_or_without_and_no_long_poll(view: str) -> None:
    async with serving() as gateway:
        await written(gateway, [b"data: one\n\n"])
        plain = await gateway.ask(get(f"s?view={view}"))
        assert (await gateway.ask(get(f"s?live=sse&view={view}"))).same == plain.same
        poll = await gateway.ask(get(f"s?view={view}&live=long-poll&offset=-1"))
        poll.assert_problem(400, "live")


@pytest.mark.parametrize("view", ["ai-sdk", "ag-ui", "text"])
async def test_a_stream_of_bytes_has_no_view_but_sse(view: str) -> None:
    async with serving() as gateway:
        await written(gateway, [b"\xff\x00"], "application/octet-stream")
        (await gateway.ask(get(f"s?view={view}"))).assert_problem(400, "application/octet-stream")
        as_events = await gateway.ask(get("s?view=sse"))
        assert as_events.get("Stream-SSE-Data-Encoding") == "base64"
        assert view_events(as_events.body)[0].data == "/wA="


@pytest.mark.parametrize("view", ["ai-sdk", "ag-ui", "text"])
@pytest.mark.parametrize("kind", ["plain", "event-stream"])
async def test_text_in_another_charset_has_no_view_but_sse_which_is_base64(
    view: str, kind: str
) -> None:
    async with serving() as gateway:
        await written(gateway, [b"caf\xe9"], f"text/{kind}; charset=iso-8859-1")
        refused = await gateway.ask(get(f"s?view={view}"))
        refused.assert_problem(400, f"text/{kind}; charset=iso-8859-1", "UTF-8")
        as_events = await gateway.ask(get("s?view=sse"))
        assert as_events.get("Stream-SSE-Data-Encoding") == "base64"
        assert view_events(as_events.body)[0].data == "Y2Fm6Q=="


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("view", VIEWS)
async def test_a_closed_answer_is_sent_whole_with_the_bytes_of_its_renderer(
    view: str, answer: str
) -> None:
    async with serving() as gateway:
        await written(gateway, ANSWERS[answer])
        got = await gateway.ask(get(f"s?view={view}"))
        assert (got.status, got.get("Stream-Closed")) == (200, "true")
        path = gateway.route.table.peek("s")
        assert path is not None
        assert got.body == rendered(view, ANSWERS[answer])


@pytest.mark.parametrize("view", VIEWS)
async def test_a_live_reader_gets_each_event_as_it_comes_and_the_end_as_the_stream_closes(
    view: str,
) -> None:
    records = chat_completion()
    async with serving() as gateway:
        await written(gateway, records[:2], closed=False)
        client = await follow(gateway, f"s?view={view}")
        expected = rendered(view, records[:2], closed=False)
        assert await client.event_bytes_until(expected[-12:]) == expected
        for number, record in enumerate(records[2:], 3):
            await gateway.ask(post("s", record, content_type=EVENTS))
            expected = rendered(view, records[:number], closed=False)
            await client.event_bytes_until(expected[-12:])
        assert client.received == expected
        await gateway.ask(request("POST", "s", "Stream-Closed: true"))
        rest = await client.read_until(b"\r\n0\r\n") if view != "text" else b""
        assert view == "text" or rendered(view, records)[len(expected) :] in rest


@pytest.mark.parametrize("view", ["sse", "ai-sdk", "ag-ui"])
async def test_a_client_that_is_cut_at_any_event_goes_on_there_without_loss_or_repetition(
    view: str,
) -> None:
    records = message()
    async with serving() as gateway:
        await written(gateway, records)
        whole = view_events((await gateway.ask(get(f"s?view={view}"))).body)
        for count in range(len(whole) + 1):
            kept, last_id = complete(whole[:count])
            rest = await gateway.ask(
                get(f"s?view={view}", *([f"Last-Event-ID: {last_id}"] if last_id else []))
            )
            assert kept + view_events(rest.body) == whole
            by_query = await gateway.ask(get(f"s?view={view}&lastEventId={last_id or ''}"))
            assert (by_query.status, by_query.body) == (rest.status, rest.body)
            at = "-1" if last_id is None else last_id
            again = await gateway.ask(get(f"s?view={view}&offset={at}"))
            if not at.endswith("~"):
                assert kept + view_events(again.body) == whole


@pytest.mark.parametrize("view", ["sse", "ai-sdk", "ag-ui", "text"])
async def test_the_last_event_id_minus_one_is_the_beginning_of_a_view(view: str) -> None:
    async with serving() as gateway:
        await written(gateway, message())
        whole = await gateway.ask(get(f"s?view={view}"))
        for request_ in (
            get(f"s?view={view}", "Last-Event-ID: -1"),
            get(f"s?view={view}&offset={offset(9)}", "Last-Event-ID: -1"),
            get(f"s?view={view}&offset={offset(9)}&lastEventId=-1"),
        ):
            again = await gateway.ask(request_)
            assert (again.status, again.body) == (200, whole.body)


async def test_a_reader_may_begin_inside_of_an_event_and_gets_it_whole() -> None:
    async with serving() as gateway:
        await written(gateway, [b"data: one\n\ndata: t", b"wo\n\n"])
        got = await gateway.ask(get(f"s?view=sse&offset={offset(14)}"))
        assert [one.data for one in view_events(got.body)] == ["two", '{"streamClosed":true}']


async def test_an_event_source_that_has_everything_gets_204_and_one_without_the_end_gets_it() -> (
    None
):
    async with serving() as gateway:
        await written(gateway, [b"data: one\n\n"])
        events = view_events((await gateway.ask(get("s?view=sse"))).body)
        assert [one.name for one in events] == ["", "end"]
        without = await gateway.ask(get("s?view=sse", f"Last-Event-ID: {events[0].id}"))
        assert view_events(without.body) == events[1:]
        everything = await gateway.ask(get("s?view=sse", f"Last-Event-ID: {events[1].id}"))
        assert (everything.status, everything.body) == (204, b"")


async def test_json_messages_of_one_append_share_one_id() -> None:
    async with serving() as gateway:
        await written(gateway, [b'[{"a":1},"b"]', b'"c"'], JSON)
        events = view_events((await gateway.ask(get("s?view=sse"))).body)
        assert values(events[:-1]) == [{"a": 1}, "b", "c"]
        assert [one.id is None for one in events] == [True, False, False, False]


@pytest.mark.parametrize(("letters", "times", "size"), [("é東", 1, 1), ("😀", 500_000, 350_001)])
async def test_a_character_that_two_appends_share_arrives_whole(
    letters: str, times: int, size: int
) -> None:
    async with serving() as gateway:
        text = letters * times
        data = text.encode()
        parts = [data[at : at + size] for at in range(0, len(data), size)]
        await written(gateway, parts, "text/plain")
        events = view_events((await gateway.ask(get("s?view=sse"))).body)
        assert "".join(one.data for one in events[:-1]) == text


TAKES_TRAILERS = {
    "without TE": ([], False),
    "other codings": (["TE: gzip, trailers;q=1"], False),
    "alone": (["TE: trailers"], True),
    "among others": (["TE: gzip;q=0.5, Trailers"], True),
    "in a second line": (["TE: gzip", "TE: trailers"], True),
}


@pytest.mark.parametrize(("lines", "takes"), TAKES_TRAILERS.values(), ids=TAKES_TRAILERS)
async def test_a_text_says_after_its_body_where_to_read_on_if_the_client_takes_trailers(
    lines: list[str], takes: bool
) -> None:
    async with serving() as gateway:
        await written(gateway, [b"one", b"two"], "text/plain", closed=False)
        client = await gateway.connect()
        client.send(get("s?view=text", *lines))
        head = await client.head()
        assert head.get("Content-Type") == "text/plain; charset=utf-8"
        await client.event_bytes_until(b"two")
        await gateway.ask(request("POST", "s", "Stream-Closed: true"))
        end = await client.read_until(b"\r\n\r\n")
        assert head.get("Trailer") == ("Stream-Next-Offset, Stream-Closed" if takes else None)
        fields = f"Stream-Next-Offset: {offset(6)}\r\nStream-Closed: true\r\n" if takes else ""
        assert end == f"0\r\n{fields}\r\n".encode()


@pytest.mark.parametrize("view", VIEWS)
async def test_a_closed_view_is_validated_by_its_tag(view: str) -> None:
    async with serving() as gateway:
        await written(gateway, chat_completion())
        got = await gateway.ask(get(f"s?view={view}&offset={offset(0)}"))
        tag = got.get("ETag")
        again = await gateway.ask(get(f"s?view={view}&offset={offset(0)}", f"If-None-Match: {tag}"))
        assert (again.status, again.body, again.get("ETag")) == (304, b"", tag)
        lifetime = "no-cache" if view == "sse" else "public, max-age=86400, "
        assert str(got.get("Cache-Control")).startswith(lifetime)
        assert got.get("Vary") == (None if view == "text" else "Last-Event-ID")
        others = {
            (await gateway.ask(get(f"s?view={it}&offset={offset(0)}"))).get("ETag") for it in VIEWS
        }
        assert len(others) == len(VIEWS)


@pytest.mark.parametrize("view", VIEWS)
async def test_a_live_view_is_never_stored(view: str) -> None:
    async with serving() as gateway:
        await written(gateway, [b"data: one\n\n"], closed=False)
        client = await gateway.connect()
        client.send(get(f"s?view={view}"))
        head = await client.head()
        assert head.get("Cache-Control") == "no-cache, no-transform"
        assert head.get("ETag") is None
        assert head.get("x-vercel-ai-ui-message-stream") == ("v1" if view == "ai-sdk" else None)


async def test_head_does_not_depend_on_the_view() -> None:
    async with serving() as gateway:
        await written(gateway, chat_completion())
        plain = await gateway.ask(request("HEAD", "s"))
        assert (await gateway.ask(request("HEAD", "s?view=text"))).same == plain.same


async def test_many_readers_of_a_view_have_it_rendered_once() -> None:
    records = chat_completion()
    async with serving(max_connections=110) as gateway:
        await written(gateway, records[:5], closed=False)
        clients = [await gateway.connect() for _ in range(100)]
        for client in clients:
            client.send(get("s?view=ai-sdk"))
        for client in clients:
            await client.head()
        for record in records[5:]:
            await gateway.ask(post("s", record, content_type=EVENTS))
        await close(gateway)
        bodies = await asyncio.gather(*map(to_the_end, clients))
        assert set(bodies) == {rendered("ai-sdk", records)}
        found = {
            sample.values[-1]: sample.number
            for sample in gateway.route.samples()
            if sample.metric.name == "headgate_views_rendered_total"
        }
        assert found == {"sse": 0, "ai-sdk": 1, "ag-ui": 0, "text": 0}
        await until(lambda: gateway.limits.live_readers == 0)
        assert gateway.route.feeds.count == 0
