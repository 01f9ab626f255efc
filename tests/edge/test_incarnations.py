"""A stream made anew behind the gateway's back: nothing of one life enters an answer of another."""

from __future__ import annotations

import base64

import pytest

from tests.edge.live_readers import (
    S,
    at,
    confirmed,
    following,
    held_up,
    live,
    news,
    polling,
    text,
    up_to,
    viewed,
    waiting,
)
from tests.support.raw_origin import answer
from tests.support.serving import PREFIX, edge_serving, get, post, put, request, serving
from tests.support.waiting import until

LATIN = "text/plain; charset=iso-8859-1"
KINDS = ["text/plain", "application/json", "application/octet-stream", LATIN]
CHANGES = [(old, new) for old in KINDS for new in KINDS if old != new]
CODED = "Stream-SSE-Data-Encoding"


async def test_a_poll_at_the_end_of_a_recreated_stream_gets_no_middle_of_the_old_one() -> None:
    async with (
        serving() as origin,  # a gateway, too: its offsets differ from one life to the next
        edge_serving(f"http://127.0.0.1:{origin.port}{PREFIX}") as gateway,
    ):
        await origin.ask(put("s", body=b"the old stream"))
        await gateway.ask(get(at("-1")))
        closing = request("POST", S, "Stream-Closed: true", "Content-Type: text/plain", body=b"!")
        assert (await gateway.ask(closing)).status in {200, 204}
        assert (await gateway.ask(get(at("-1")))).body == b"the old stream!"
        await origin.ask(request("DELETE", "s"))
        await origin.ask(put("s", body=b"new"))
        gateway.clock.advance(3600)
        read = await gateway.ask(get(f"{S}?offset=-1"))
        assert read.body == b"new"
        end = read.get("Stream-Next-Offset")
        assert end is not None
        gateway.polls_wait(0.2)
        assert news(await gateway.ask(get(at(end)))) == (204, b"", end, "true")


@pytest.mark.parametrize(("old", "new"), CHANGES)
async def test_events_are_framed_by_the_content_type_of_their_own_stream(
    old: str, new: str
) -> None:
    """A copy of the old stream is kept, and perhaps rendered, when another one takes its place."""
    before_, after = (b'"1"', b'"2"') if old != KINDS[0] else (b"1", b'"2"')
    async with live(before_, content_type=old) as (origin, gateway):
        assert (await gateway.ask(get(f"{S}?offset=-1"))).status == 200
        origin.pieces, origin.content_type = [after], new
        client = await gateway.connect()
        client.send(get(at("-1", "sse")))
        head = await client.answer(to_head=True)
        told = text(await client.events_until(lambda events: len(events) >= 2))
        kind, piece = (new, after) if told in _events(new, after) else (old, before_)
        assert told in _events(kind, piece)
        assert head.get(CODED) == ("base64" if kind in KINDS[2:] else None)


def _events(kind: str, piece: bytes) -> set[str]:
    if kind in KINDS[2:]:
        return {base64.b64encode(piece).decode()}
    return {f"[{piece.decode()}]" if kind == KINDS[1] else piece.decode()}


@pytest.mark.parametrize(("old", "new"), CHANGES)
async def test_a_poll_with_another_content_type_ends_the_feed(old: str, new: str) -> None:
    async with waiting(b'"1"', content_type=old) as (origin, gateway, waiter):
        viewer = await following(gateway, "0001")
        origin.content_type = new
        origin.append(b'"2"')
        assert text(await viewer.events_to_the_end()) == ""
        assert (await waiter.answer()).status == 410
        await until(lambda: gateway.limits.feeds == 0)


@pytest.mark.parametrize(("old", "new"), CHANGES)
async def test_a_read_with_another_content_type_ends_the_feed(old: str, new: str) -> None:
    """The poll at the old stream hangs on."""
    async with viewed(b'"1"', content_type=old) as (origin, gateway, viewer):
        origin.pieces, origin.content_type = [b'"2"', b'"3"'], new
        got = await gateway.ask(get(f"{S}?offset=-1"))
        assert got.body == (b'["2","3"]' if new == KINDS[1] else b'"2""3"')
        assert text(await viewer.events_to_the_end()) == ""


async def test_a_read_with_other_bytes_ends_the_feed() -> None:
    async with live(b"a", b"b") as (origin, gateway):
        assert (await gateway.ask(get(at("-1")))).body == b"ab"
        waiter = await polling(gateway, "0002")
        await origin.polled(1)
        origin.pieces = [b"x", b"y", b"z"]
        assert (await gateway.ask(get(f"{S}?offset=-1", "X-Own-Way: 1"))).body == b"ab"  # kept
        gateway.clock.advance(3600)
        assert (await gateway.ask(get(f"{S}?offset=-1", "X-Own-Way: 1"))).body == b"xyz"
        assert (await waiter.answer()).status == 410


async def test_a_late_response_of_the_content_type_before_a_followed_stream_is_not_cached() -> None:
    async with live(b"old") as (origin, gateway):
        origin.says = ["Cache-Control: max-age=3600"]
        told = ("Content-Type: text/plain", "Stream-Next-Offset: 0001", *origin.says)
        early, late = await held_up(origin, gateway, f"{S}?offset=-1", answer(b"old", *told))
        origin.pieces, origin.content_type = [b"n", b"e"], KINDS[2]
        viewer = await following(gateway, "0002")
        late.go()
        assert (await early.answer()).body == b"old"
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"ne"
        origin.append(b"w")
        assert await up_to(viewer, "0003") == base64.b64encode(b"w").decode()


async def test_a_read_is_up_to_date_only_with_acknowledged_appends_that_the_feed_lacks() -> None:
    """The origin answers long-polls late."""
    async with viewed(b"a") as (origin, gateway, viewer):
        assert await up_to(viewer, "0001") == ""
        await confirmed(gateway)
        origin.pieces.append(b"b")  # nothing tells the poll yet
        assert (await gateway.ask(post(S, b"b"))).status == 204
        gateway.polls_wait(0.05)
        assert news(await gateway.ask(get(at("0001")))) == (200, b"b", "0002", "true")
        origin.pieces.append(b"c")
        assert (await gateway.ask(post(S, b"c"))).status == 204
        got = await gateway.ask(get(f"{S}?offset=0001"))
        assert (got.body, got.get("Stream-Up-To-Date")) == (b"bc", "true")
        origin.tell()
        assert await up_to(viewer, "0003") == "bc"


@pytest.mark.parametrize("times", [1, 2])
async def test_a_poll_that_times_out_after_a_read_of_the_tail_is_up_to_date(times: int) -> None:
    """Its time is over before the origin's own poll is."""
    async with live(b"a") as (_, gateway):
        gateway.polls_wait(0.1)
        for _ in range(times):
            assert (await gateway.ask(get(f"{S}?offset=0001"))).status == 200
        assert news(await gateway.ask(get(at("0001")))) == (204, b"", "0001", "true")


@pytest.mark.parametrize("mode", ["long-poll", "sse"])
async def test_a_read_under_way_at_a_deletion_is_not_shared_with_later_readers(
    mode: str,
) -> None:
    """Nor does what is followed on its word, for the seconds that it lingers."""
    async with live(b"a", b"b") as (origin, gateway):
        told = ("Content-Type: text/plain", "Stream-Next-Offset: 0002", "Stream-Up-To-Date: true")
        early, late = await held_up(origin, gateway, at("-1", mode), answer(b"ab", *told))
        assert (await gateway.ask(request("DELETE", S))).status == 204
        origin.instead = answer(status="404 Not Found")
        late.go()
        assert (await early.answer()).status in {200, 404}  # it was asked before
        for offset in ("-1", "0001", "0002"):
            for later in ("long-poll", "sse"):
                assert (await gateway.ask(get(at(offset, later)))).status == 404
            assert (await gateway.ask(get(f"{S}?offset={offset}"))).status == 404


async def test_a_read_with_404_ends_the_feed() -> None:
    """The poll at the origin hangs on, and so would those who wait for its news."""
    async with waiting(b"a") as (origin, gateway, waiter):
        viewer = await following(gateway, "0001")
        origin.instead = answer(status="404 Not Found")
        assert (await gateway.ask(get(f"{S}?offset=-1"))).status == 404
        assert (await waiter.answer()).status == 404
        assert text(await viewer.events_to_the_end()) == ""
        await until(lambda: gateway.limits.feeds == 0)


async def test_a_negotiated_variant_does_not_count_as_another_stream() -> None:
    async with live(b"a") as (origin, gateway):
        origin.says = ["Vary: Accept"]
        viewer = await following(gateway, "0001")
        await origin.polled(1)
        told = ("Content-Type: application/json", "Stream-Next-Offset: 0001", *origin.says)
        origin.instead = answer(b'["a"]', *told)
        read = await gateway.ask(get(f"{S}?offset=-1", "Accept: application/json"))
        assert read.body == b'["a"]'
        origin.instead = None
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"a"
        origin.append(b"b")
        assert await up_to(viewer, "0002") == "b"


@pytest.mark.parametrize("method", ["POST", "DELETE", "HEAD"])
@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone"])
async def test_a_write_with_404_or_410_ends_the_closed_feed(method: str, status: str) -> None:
    async with waiting(b"a") as (origin, gateway, waiter):
        origin.close_stream(b"b")
        assert (await waiter.answer()).body == b"b"
        slow = await following(gateway, "0000")
        assert (await gateway.ask(get(at("0001")))).body == b"b"
        origin.instead = answer(status=status)
        assert f"{(await gateway.ask(request(method, S))).status}" == status[:3]
        for offset in ("-1", "0001", "0002"):
            for mode in ("long-poll", "sse"):
                assert (await gateway.ask(get(at(offset, mode)))).status in {404, 410}
        await slow.events_to_the_end()
