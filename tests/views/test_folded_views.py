"""Views that a reader joins late: long parts come folded, once for all, and resume at every id."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.features.views.rendering import FOLDED_PIECES, LONGEST_PIECE
from tests.models.answers import chat_completion
from tests.support.serving import get, post, put, serving
from tests.views.reading import (
    EVENTS,
    close,
    follow,
    rendered,
    summed,
    to_the_end,
    view_events,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.serving import Serving

WORDS = [f" wört{number}" * 50 for number in range(500)]
RECORDS = chat_completion(WORDS)
SO_FAR = len(RECORDS) * 9 // 10
views = pytest.mark.parametrize("view", ["ai-sdk", "ag-ui"])


async def write(gateway: Serving, records: Sequence[bytes]) -> None:
    """Create a stream of many records by one append each, several at once."""
    await gateway.ask(put("s", content_type=EVENTS))
    client = await gateway.connect()
    for begin in range(0, len(records), 100):
        lot = records[begin : begin + 100]
        client.send(b"".join(post("s", record, content_type=EVENTS) for record in lot))
        for _ in lot:
            assert (await client.answer()).status == 204


@views
async def test_a_reader_that_joins_late_reads_few_events_and_no_character_is_missing(
    view: str,
) -> None:
    async with serving() as gateway:
        await write(gateway, RECORDS[:SO_FAR])
        client = await follow(gateway, f"s?view={view}")
        for record in RECORDS[SO_FAR:]:
            await gateway.ask(post("s", record, content_type=EVENTS))
        await close(gateway)
        body = await to_the_end(client)
    plain = rendered(view, RECORDS)
    late = view_events(rendered(view, RECORDS[SO_FAR:]))
    assert summed(body) == summed(plain)
    assert len(view_events(body)) - len(late) < 0.06 * SO_FAR
    assert len(plain) > 4 * LONGEST_PIECE


@views
async def test_a_reader_resumes_behind_every_event_of_a_folded_view(view: str) -> None:
    async with serving() as gateway:
        await write(gateway, RECORDS)
        await close(gateway)
        body = (await gateway.ask(get(f"s?view={view}"))).body
        whole = summed(rendered(view, RECORDS))
        assert summed(body) == whole
        events = view_events(body)
        ids = [one.id for one in events if one.id]
        assert len(ids) < len(RECORDS) / 4
        for number, id_ in [*enumerate(ids)][:: max(1, len(ids) // 40)]:
            answer = await gateway.ask(get(f"s?view={view}", f"Last-Event-ID: {id_}"))
            begun = body[: body.index(b"\n\n", body.index(f"id: {id_}".encode())) + 2]
            assert summed(begun + answer.body) == whole, number


async def test_a_long_view_is_folded_once_for_readers_that_come_together() -> None:
    async with serving() as gateway:
        await write(gateway, RECORDS)
        clients = [await follow(gateway, "s?view=ai-sdk") for _ in range(20)]
        await close(gateway)
        bodies = await asyncio.gather(*(to_the_end(client) for client in clients))
        whole = summed(rendered("ai-sdk", RECORDS))
        assert all(summed(body) == whole for body in bodies)
        [folded] = [one for one in gateway.route.samples() if one.metric is FOLDED_PIECES]
        assert 3 < folded.number < 20


@views
async def test_a_closed_view_has_the_same_bytes_whoever_has_read_it_before(view: str) -> None:
    async with serving() as gateway:
        await write(gateway, RECORDS[:400])
        client = await follow(gateway, f"s?view={view}")
        await client.chunk()
        for record in RECORDS[400:480]:
            await gateway.ask(post("s", record, content_type=EVENTS))
        await close(gateway)
        await to_the_end(client)
        read_before = (await gateway.ask(get(f"s?view={view}"))).body
    async with serving() as gateway:
        await write(gateway, RECORDS[:480])
        await close(gateway)
        assert (await gateway.ask(get(f"s?view={view}"))).body == read_before
