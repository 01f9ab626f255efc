"""A read is answered alike whatever its client says besides: the same copy, tag and cache lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.serving import PREFIX, edge_serving, get, post, put, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.http1 import Answer

ID = "X-Request-Id: 7"


def said(answer: Answer) -> tuple[int, str | None, str | None, str | None]:
    """Return the status, tag and cache lines of an answer."""
    return answer.status, answer.get("ETag"), answer.get("X-Cache"), answer.get("Cache-Tag")


async def test_all_reads_of_a_followed_stream_with_a_fresh_copy_get_the_same_response() -> None:
    async with serving() as log, edge_serving(f"http://127.0.0.1:{log.port}{PREFIX}") as gateway:
        await log.ask(put("a"))
        await log.ask(post("a", b"one"))
        target = "/edge/a?offset=-1"
        tail = (await gateway.ask(get(target))).get("Stream-Next-Offset")
        poll = await gateway.connect()
        poll.send(get(f"/edge/a?offset={tail}&live=long-poll"))
        await until(lambda: len(gateway.edge.feeds.table.by_key) == 1)
        await log.ask(post("a", b"two"))
        await poll.answer()
        plain = await gateway.ask(get(target))  # from the origin, and a copy from now on
        assert (plain.status, plain.body) == (200, b"onetwo")
        hit = await gateway.ask(get(target))
        assert said(hit) == (200, plain.get("ETag"), "HIT", plain.get("Cache-Tag"))
        assert said(await gateway.ask(get(target, ID))) == said(hit)
        for lines in [], [ID]:
            again = await gateway.ask(get(target, f"If-None-Match: {hit.get('ETag')}", *lines))
            assert (again.status, again.get("ETag")) == (304, hit.get("ETag"))
