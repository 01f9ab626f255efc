"""Webhooks are woken by what streams get, and acknowledge it at once or by callbacks."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from tests.subscriptions.receivers import (
    Subscribed,
    ends_of,
    is_signed,
    receiver,
    stream_of,
    subscribed,
)
from tests.support.serving import PREFIX, get, offset

DONE = {"done": True}


async def test_a_creation_with_content_wakes_with_a_signed_body_that_tells_the_stream() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="events/*")
        await gateway.create("events/a", body=b'{"n":1}')
        wake = await at.wake()
        tail = await _tail(gateway, "events/a")
        assert wake["streams"] == [
            {
                "path": "events/a",
                "link_type": "glob",
                "acked_offset": "-1",
                "tail_offset": tail,
                "has_pending": True,
            }
        ]
        assert (wake["subscription_id"], wake["generation"]) == ("s", 1)
        assert wake["callback_url"] == (
            f"http://127.0.0.1:4437{PREFIX}/__ds/subscriptions/s/callback"
        )
        answer = await gateway.gateway.ask(get(f"{PREFIX}/__ds/jwks.json"))
        assert answer.get("Content-Type") == "application/jwk-set+json"
        assert answer.get("Cache-Control") == "public, max-age=300"
        assert is_signed(*at.received[0], json.loads(answer.body))


@pytest.mark.parametrize("body", [b"", b"[]"])
async def test_a_creation_without_content_wakes_nobody(body: bytes) -> None:
    async with subscribed() as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, pattern="events/*")
        await gateway.create("events/a", body=body)
        await gateway.create("events/b", body=b'{"n":1}')
        wake = await at.wake()
        assert [one["has_pending"] for one in wake["streams"]] == [False, True]
        await gateway.quiet()
        assert len(at.wakes) == 1


async def test_a_close_without_data_wakes_and_is_acknowledged_with_the_tail() -> None:
    async with subscribed() as gateway, receiver(answer=DONE) as at:
        await gateway.create("a")
        await gateway.webhook("s", at, streams=["a"])
        await gateway.append("a", b"", "Stream-Closed: true")
        wake = await at.wake()
        assert stream_of(wake, "a")["closed"] is True
        assert stream_of(wake, "a")["has_pending"] is True
        await gateway.quiet()
        assert not gateway.engine.by_id["s"].pending


async def test_a_close_behind_a_wake_is_not_acknowledged_with_the_data_that_it_told() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        wake = await at.wake()
        await gateway.append("a", b"", "Stream-Closed: true")
        status, told = await gateway.callback(wake, *ends_of(wake))
        assert (status, told) == (200, {"ok": True, "next_wake": True})
        second = await at.wake(2)
        assert stream_of(second, "a")["closed"] is True
        assert (await gateway.callback(second, *ends_of(second)))[1]["next_wake"] is False


async def test_done_acknowledges_what_the_wake_told_and_no_later_append() -> None:
    async with subscribed() as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, pattern="events/*")

        async def append_meanwhile(_call: web.Request) -> web.StreamResponse:
            at.respond = None
            await gateway.append("events/a", b'{"n":2}')
            return web.json_response(DONE)

        at.respond = append_meanwhile
        await gateway.create("events/a", body=b'{"n":1}')
        first, second = await at.wake(), await at.wake(2)
        assert second["generation"] == 2
        assert second["wake_id"] != first["wake_id"]
        assert stream_of(second, "events/a")["acked_offset"] == ends_of(first)[0][1]
        await gateway.quiet()
        assert (await gateway.cursors("s"))["events/a"] == ends_of(second)[0][1]


async def test_existing_streams_are_linked_at_their_tails() -> None:
    async with subscribed() as gateway, receiver(answer=DONE) as at:
        await gateway.create("events/a", body=b'{"n":1}')
        await gateway.create("b", body=b'{"n":1}')
        await gateway.webhook("s", at, pattern="events/**", streams=["b", "c"])
        tails = {name: await _tail(gateway, name) for name in ("events/a", "b")}
        assert await gateway.cursors("s") == {**tails, "c": "-1"}
        await gateway.quiet()
        assert at.wakes == []
        await gateway.append("b")
        wake = await at.wake()
        assert [it["path"] for it in wake["streams"] if it["has_pending"]] == ["b"]


async def test_a_callback_without_done_moves_cursors_and_extends_the_lease() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="*", lease_ttl_ms=10_000)
        await gateway.create("a", body=b'{"n":1}')
        wake = await at.wake()
        await gateway.quiet()
        for _ in range(3):
            gateway.pass_time(9.0)
            assert (await gateway.callback(wake, done=False))[0] == 200
        assert len(at.wakes) == 1
        gateway.pass_time(10.0)  # the lease ends, and another wake is due behind a pause
        gateway.pass_time(2.0)
        assert (await at.wake(2))["generation"] == 2
        assert (await gateway.callback(wake))[1]["error"]["code"] == "FENCED"


async def test_an_ack_of_an_earlier_generation_moves_no_cursor() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        first = await at.wake()
        await gateway.callback(first)  # done, and nothing acknowledged
        gateway.pass_time(2.0)
        second = await at.wake(2)
        before = await gateway.cursors("s")
        for changed in ({}, {"wake_id": second["wake_id"]}, {"generation": 2}):
            status, told = await gateway.callback({**first, **changed}, *ends_of(first))
            assert (status, told["error"]["code"]) == (409, "FENCED")
        assert await gateway.cursors("s") == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("b", offset(0), id="an-unknown-stream"),
        pytest.param("", offset(0), id="no-name"),
        pytest.param("a", offset(9), id="behind-the-cursor"),
        pytest.param("a", offset(10_000), id="beyond-the-tail"),
        pytest.param("a", offset(20, 1), id="another-generation"),
        pytest.param("a", "-1", id="the-beginning"),
        pytest.param("a", "now", id="now"),
        pytest.param("a", "20", id="no-offset"),
    ],
)
async def test_an_invalid_offset_is_refused_and_no_other_ack_of_the_request_counts(
    name: str, text: str
) -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.create("a", body=b'{"n":"twenty"}')
        await gateway.webhook("s", at, pattern="*")
        await gateway.append("a")
        await gateway.create("ok", body=b'{"n":1}')
        wake = await at.wake()
        await gateway.quiet()
        before = await gateway.cursors("s")
        good = ("ok", await _tail(gateway, "ok"))
        status, told = await gateway.callback(wake, good, (name, text))
        assert (status, told["error"]["code"]) == (409, "INVALID_OFFSET")
        assert f" {name}" in told["error"]["message"]
        assert await gateway.cursors("s") == before


async def test_an_ack_may_name_its_stream_by_path() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        wake = await at.wake()
        document = {
            "wake_id": wake["wake_id"],
            "generation": 1,
            "acks": [{"path": "/a/", "offset": ends_of(wake)[0][1]}],
            "done": True,
        }
        told = await gateway.ask("POST", "s/callback", document, wake["callback_token"])
        assert told == (200, {"ok": True, "next_wake": False})


async def test_an_offset_of_a_deleted_stream_acknowledges_nothing_of_the_next_one() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        wake = await at.wake()
        await gateway.delete("a")
        await gateway.create("a", body=b'{"n":1}')
        status, told = await gateway.callback(wake, *ends_of(wake))
        assert (status, told["error"]["code"]) == (409, "INVALID_OFFSET")


async def test_a_stream_that_is_trimmed_beyond_its_cursor_says_where_it_begins() -> None:
    async with subscribed(own={"retention_messages": 1}) as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        wake = await at.wake()
        for _ in range(4):
            await gateway.append("a")
        await gateway.callback(wake)
        gateway.pass_time(2.0)
        told = stream_of(await at.wake(2), "a")
        assert told["trimmed"] is True
        found = await gateway.gateway.ask(get(f"{PREFIX}/a?offset={told['first_offset']}"))
        assert found.status == 200


async def _tail(gateway: Subscribed, name: str) -> str:

    answer = await gateway.gateway.ask(get(f"{PREFIX}/{name}"))
    return str(answer.next_offset)
