"""Followed streams in doubt: who waits for the comparison, and how the doubt ends."""

from __future__ import annotations

from tests.edge.live_readers import S, at, following, live, news, text, up_to
from tests.support.waiting import until
from tests.web.serving import get


async def test_a_stream_is_followed_once_after_a_lag_that_looked_like_another_stream() -> None:
    """New readers have a feed of their own for as long as the old one is in doubt."""
    async with live(b"a", b"b", b"c") as (origin, gateway):
        viewer = await following(gateway, "0003")
        assert await up_to(viewer, "0003") == ""
        origin.append(b"d")
        assert await up_to(viewer, "0004") == "d"
        await origin.polled(2)
        origin.visible = 2
        assert news(await gateway.ask(get(at("-1"))))[:3] == (200, b"ab", "0002")
        origin.visible = None
        assert text(await viewer.events_to_the_end()) == "d"
        assert news(await gateway.ask(get(at("0002")))) == (200, b"cd", "0004", "true")
        again = await following(gateway, "0004")
        await until(lambda: origin.waiting == 1)
        assert len(gateway.edge.feeds.of_path(S)) == 1
        origin.append(b"e")
        assert await up_to(again, "0005") == "e"


async def test_a_read_waits_on_where_another_doubt_arises_before_it_has_its_turn() -> None:
    async with live(b"a", b"b", b"c") as (origin, gateway):
        viewer = await following(gateway, "-1")
        assert await up_to(viewer, "0003") == "abc"
        await origin.polled(1)
        (stream,) = gateway.edge.feeds.of_path(S)
        settled, times = stream._poller.on_settled, 0

        def settle() -> None:
            nonlocal times
            times += 1
            settled()
            if times == 1:
                stream.doubt()

        stream._poller.on_settled = settle
        stream.doubt()
        got = await gateway.ask(get(f"{S}?offset=0002", "X-Own-Way: 1"))
        assert (news(got)[:3], times) == ((200, b"c", "0003"), 2)
