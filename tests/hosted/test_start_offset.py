"""The offset that a read from the beginning names, from which clients count the messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES
from tests.live.test_feed import controls, follow, up_to
from tests.support.serving import (
    PREFIX,
    edge_serving,
    get,
    offset,
    post,
    put,
    request,
    serving,
    serving_with,
)
from tests.support.waiting import until
from tests.web.test_traffic import numbers

if TYPE_CHECKING:
    from tests.support.serving import Serving

NAME, MEMBER = "Headgate-Start-Offset", "headgateStartOffset"
START, TAIL = offset(0), offset(6)
JSON = "application/json"


async def two(gateway: Serving) -> None:
    """Append to the stream `s`, which has these two records then."""
    for data in (b"one", b"two"):
        assert (await gateway.ask(post("s", data))).status == 204


@pytest.mark.parametrize("target", ["s?offset=-1", "s", "s?offset=-1&live=long-poll"])
async def test_a_response_from_the_beginning_names_the_offset_there_also_from_the_cache(
    target: str,
) -> None:
    async with serving_with(put("s")) as gateway:
        await two(gateway)
        miss, hit = [await gateway.ask(get(target)) for _ in range(2)]
        assert (miss.get("X-Cache"), miss.get(NAME)) == ("MISS", START)
        assert (hit.get("X-Cache"), hit.get(NAME)) == ("HIT", START)
        unchanged = await gateway.ask(get(target, f"If-None-Match: {hit.get('ETag')}"))
        assert (unchanged.status, unchanged.get(NAME)) == (304, START)
        after = await gateway.ask(get(f"s?offset={START}"))
        assert (after.get("ETag"), after.get(NAME)) == (hit.get("ETag"), None)


OTHERS = {
    "a read of the same data from their offset": get(f"s?offset={START}"),
    "a read from the middle": get(f"s?offset={offset(3)}"),
    "a read at the tail": get(f"s?offset={TAIL}"),
    "a read from now": get("s?offset=now"),
    "a long-poll from an offset": get(f"s?offset={START}&live=long-poll"),
    "a long-poll that brings nothing": get(f"s?offset={TAIL}&live=long-poll"),
    "a HEAD": request("HEAD", "s"),
    "a creation": put("s"),
    "an append": post("s", b"!"),
    "a stream that is not there": get("nothing?offset=-1"),
}


@pytest.mark.parametrize("asked", OTHERS.values(), ids=OTHERS)
async def test_no_other_response_names_the_beginning(asked: bytes) -> None:
    async with serving_with(put("s"), long_poll_timeout=0.05) as gateway:
        await two(gateway)
        assert (await gateway.ask(asked)).get(NAME) is None


async def test_of_two_polls_of_an_empty_stream_the_one_from_the_beginning_names_it() -> None:
    async with serving_with(put("s")) as gateway:
        polls = [await gateway.connect() for _ in range(2)]
        for poll, start in zip(polls, ("-1", START), strict=True):
            poll.send(get(f"s?offset={start}&live=long-poll"))
        await until(lambda: gateway.limits.live_readers == 2)
        await gateway.ask(post("s", b"one"))
        answers = [await poll.answer() for poll in polls]
        assert [(it.body, it.get(NAME)) for it in answers] == [(b"one", START), (b"one", None)]


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
async def test_a_poll_from_the_beginning_without_data_names_it(closed: bool) -> None:
    creation = put("s", *["Stream-Closed: true"] * closed)
    async with serving_with(creation, long_poll_timeout=0.05) as gateway:
        answer = await gateway.ask(get("s?offset=-1&live=long-poll"))
        assert (answer.status, answer.get(NAME)) == (204, START)


@pytest.mark.parametrize("first", [b"one", b""], ids=["data", "no data"])
async def test_only_the_first_control_event_from_the_beginning_names_it(first: bytes) -> None:
    async with serving_with(put("s", body=first)) as gateway:
        client = await follow(gateway, "s?offset=-1&live=sse")
        await up_to(client, len(first))
        await gateway.ask(post("s", b"!" * (4 - len(first))))
        told = controls(await up_to(client, 4))
        assert [it.get(MEMBER) for it in told] == [START, None]


async def test_of_the_events_of_a_long_stream_only_the_first_names_its_beginning() -> None:
    async with serving_with(put("s", body=b"x" * CHUNK_BYTES)) as gateway:
        await gateway.ask(post("s", b"last"))
        client = await follow(gateway, "s?offset=-1&live=sse")
        told = controls(await up_to(client, CHUNK_BYTES + 4))
        assert [it.get(MEMBER) for it in told] == [START, None]


@pytest.mark.parametrize("field", [True, False], ids=["resumed", "from an offset"])
async def test_no_event_names_the_beginning_to_a_reader_that_goes_on(field: bool) -> None:
    async with serving_with(put("s")) as gateway:
        await two(gateway)
        client, asked = await gateway.connect(), "-1" if field else START
        client.send(get(f"s?offset={asked}&live=sse", *[f"Last-Event-ID: {START}"] * field))
        head = await client.answer()
        assert head.get(NAME) is None
        assert all(MEMBER not in it for it in controls(await up_to(client, 6)))


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("s?offset=now&live=sse", "Last-Event-ID: -1"),
        ("s?offset=now&live=sse&lastEventId=-1", "X-Other: 1"),
    ],
    ids=["field", "query"],
)
async def test_the_last_event_id_minus_one_is_the_beginning(target: str, field: str) -> None:
    async with serving_with(put("s")) as gateway:
        await two(gateway)
        client = await gateway.connect()
        client.send(get(target, field))
        assert (await client.answer()).status == 200
        told = controls(await up_to(client, 6))
        assert told[0].get(MEMBER) == START
        assert numbers(gateway, "headgate_resumes_total") == {"start": 1}


@pytest.mark.parametrize("field", ["X-Other: 1", "Last-Event-ID: -1"], ids=["none", "-1"])
async def test_a_reader_from_the_beginning_of_an_empty_closed_stream_gets_its_end(
    field: str,
) -> None:
    async with serving_with(put("s", "Stream-Closed: true")) as gateway:
        client = await gateway.connect()
        client.send(get("s?offset=-1&live=sse", field))
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("view", ["sse", "text", "ai-sdk"])
async def test_a_rendered_view_from_the_beginning_names_no_offset(view: str) -> None:
    async with serving_with(put("s", "Stream-Closed: true", body=b"one")) as gateway:
        answer = await gateway.ask(get(f"s?offset=-1&view={view}"))
        assert (answer.status, answer.get(NAME)) == (200, None)
        assert MEMBER.encode() not in answer.body


async def test_what_retention_has_removed_is_gone_and_the_beginning_is_named_anew() -> None:
    async with serving_with(put("s"), own={"retention_messages": 8}) as gateway:
        before = (await gateway.ask(get("s?offset=-1"))).get(NAME)
        for number in range(40):
            await gateway.ask(post("s", b"%02d" % number))
        start = (await gateway.ask(get("s?offset=-1"))).get(NAME) or ""
        assert before == START < start <= offset(80 - 16)
        gone = await gateway.ask(get(f"s?offset={before}"))
        assert (gone.status, gone.get(NAME)) == (410, None)
        assert f"begins at {start} now" in json.loads(gone.body)["detail"]
        assert (await gateway.ask(get(f"s?offset={start}"))).status == 200


async def test_a_stream_made_anew_at_a_path_names_a_beginning_that_the_first_one_had_not() -> None:
    async with serving_with(put("s", body=b"one")) as gateway:
        await gateway.ask(request("DELETE", "s"))
        await gateway.ask(put("s", body=b"two"))
        start = (await gateway.ask(get("s?offset=-1"))).get(NAME)
        assert start != START
        assert (await gateway.ask(get(f"s?offset={start}"))).body == b"two"
        assert (await gateway.ask(get(f"s?offset={START}"))).status == 410


async def test_pages_of_listed_origins_may_read_the_field() -> None:
    async with serving_with(put("s", body=b"one"), cors_origins=["https://a.test"]) as gateway:
        answer = await gateway.ask(get("s?offset=-1", "Origin: https://a.test"))
        assert NAME in (answer.get("Access-Control-Expose-Headers") or "").split(", ")


# ---------------------------------------------------------------- before an HTTP origin


async def test_before_an_origin_a_copy_of_its_response_names_the_beginning() -> None:
    async with serving() as log, edge_serving(f"http://127.0.0.1:{log.port}{PREFIX}") as gateway:
        await log.ask(put("s", "Stream-Closed: true", body=b"one"))
        miss, hit = [await gateway.ask(get("/edge/s?offset=-1")) for _ in range(2)]
        assert (miss.get("X-Cache"), miss.get(NAME)) == ("MISS", START)
        assert (hit.get("X-Cache"), hit.get(NAME)) == ("HIT", START)
        tag = f"If-None-Match: {hit.get('ETag')}"
        unchanged = await gateway.ask(get("/edge/s?offset=-1", tag))
        assert (unchanged.status, unchanged.get(NAME)) == (304, START)
        other = await gateway.ask(get(f"/edge/s?offset={START}"))
        assert (other.body, other.get(NAME)) == (b"one", None)


async def test_before_an_origin_no_response_of_the_gateway_itself_names_the_beginning() -> None:
    async with serving() as log, edge_serving(f"http://127.0.0.1:{log.port}{PREFIX}") as gateway:
        await log.ask(put("s", body=b"one"))
        poll = await gateway.ask(get("/edge/s?offset=-1&live=long-poll"))
        assert (poll.status, poll.body, poll.get(NAME)) == (200, b"one", None)
        client = await follow(gateway, "/edge/s?offset=-1&live=sse")
        told = controls(await up_to(client, 3))
        assert told
        assert all(MEMBER not in it for it in told)
