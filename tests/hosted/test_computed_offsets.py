"""Offsets that clients have reckoned: inside an append, and past the tail."""

from __future__ import annotations

import pytest

from tests.live.test_feed import follow, text, up_to
from tests.support.serving import get, offset, post, put, serving_with
from tests.support.waiting import until


async def test_an_offset_inside_an_append_reads_from_the_start_of_that_append() -> None:
    async with serving_with(put("s", body=b"one")) as gateway:
        await gateway.ask(post("s", b"two"))
        exact = await gateway.ask(get(f"s?offset={offset(3)}"))
        for position in (4, 5):
            for _ in range(2):  # read from the log, and kept
                answer = await gateway.ask(get(f"s?offset={offset(position)}"))
                assert (answer.status, answer.body) == (200, b"two")
                assert answer.get("ETag") == exact.get("ETag")
                assert answer.get("Stream-Next-Offset") == offset(6)
                assert answer.get("Stream-Up-To-Date") == "true"
            event = await follow(gateway, f"s?offset={offset(position)}&live=sse")
            assert text(await up_to(event, 6)) == "two"
        tag = f"If-None-Match: {exact.get('ETag')}"
        assert (await gateway.ask(get(f"s?offset={offset(4)}", tag))).status == 304


@pytest.mark.parametrize("past", [1, 2, 1000])
async def test_a_cached_response_past_the_tail_is_replaced_at_the_next_append(past: int) -> None:
    async with serving_with(put("s", body=b"one")) as gateway:
        for _ in range(2):
            answer = await gateway.ask(get(f"s?offset={offset(3 + past)}"))
            assert (answer.status, answer.body) == (200, b"")
            assert answer.get("Stream-Next-Offset") == offset(3)
            assert answer.get("Stream-Up-To-Date") == "true"
        await gateway.ask(post("s", b"x" * (past + 1)))
        answer = await gateway.ask(get(f"s?offset={offset(3 + past)}"))
        assert answer.body == b"x" * (past + 1)


@pytest.mark.parametrize("past", [1, 1000])
@pytest.mark.parametrize("times", [1, 2])
async def test_a_long_poll_past_the_tail_gets_the_next_append(past: int, times: int) -> None:
    async with serving_with(put("s", body=b"one")) as gateway:
        clients = [await gateway.connect() for _ in range(times)]
        for number, client in enumerate(clients, 1):  # the first asks the log, the next does not
            client.send(get(f"s?offset={offset(3 + past)}&live=long-poll"))
            await until(lambda polls=number: gateway.limits.live_readers == polls)  # type: ignore[misc]
        await gateway.ask(post("s", b"two"))
        for client in clients:
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, b"two")
            assert answer.get("Stream-Next-Offset") == offset(6)


async def test_a_long_poll_past_the_end_of_a_closed_stream_gets_its_closure() -> None:
    async with serving_with(put("s", "Stream-Closed: true", body=b"one")) as gateway:
        answer = await gateway.ask(get(f"s?offset={offset(4)}&live=long-poll"))
        assert answer.status == 204
        assert answer.get("Stream-Next-Offset") == offset(3)
        assert answer.get("Stream-Closed") == "true"
