"""A private answer that looks like a file for all (S5), and answers by what is in no key (S9):
whether an answer is kept is said by its own header fields, never by the look of its URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get

if TYPE_CHECKING:
    from tests.support.raw_origin import Wire

LOOKS = (
    *("private/x.css", "private/x.js", "private/x.jpg", "private;.js", "private/;x.css"),
    *("private%3B.css", "private%2F..%2Fstatic%2Fx.css", "private%23.css", "private%3F.css"),
    *("private/robots.txt", "static/private", "assets/x.png", "private.css?v=1", "favicon.ico"),
    *("private%252e.css", "private%5C..%5Cx.css", "private/x.css%20", ".well-known/x.json"),
)
NOT_KEPT = ("Cache-Control: private", "Cache-Control: no-store", "Set-Cookie: session=1", "Vary: *")
UNCLEAR = ("private%0a.css", "private%00.css", "private/%2e%2e/static/x.css", "private/../x.css")
OWNER = "Authorization: Bearer canary"


async def _echo(wire: Wire) -> None:
    """What it is asked by whom, as an answer."""
    said = wire.heard.named
    who, keeps = said.get("authorization", "nobody"), said.get("x-keeps", "Vary: Accept")
    await wire.send(answer(who.encode(), "Content-Type: text/css", *keeps.split("|")))


@pytest.mark.parametrize("not_kept", NOT_KEPT)
async def test_a_private_response_is_not_cached_whatever_its_path_looks_like(not_kept: str) -> None:
    async with RawOrigin(_echo) as origin, edge_serving(origin) as gateway:
        for look in LOOKS:
            asked = f"X-Keeps: {not_kept}"
            mine = await gateway.ask(get(f"{EDGE}/{look}", OWNER, asked))
            assert mine.body == b"Bearer canary", look
            for _ in range(2):
                others = await gateway.ask(get(f"{EDGE}/{look}", asked))
                assert (others.body, others.get("X-Cache")) == (b"nobody", "MISS"), look
        assert len(origin.heard) == 3 * len(LOOKS)


async def test_a_path_that_other_servers_may_read_differently_is_refused_with_400() -> None:
    async with RawOrigin(_echo) as origin, edge_serving(origin) as gateway:
        for look in UNCLEAR:
            assert (await gateway.ask(get(f"{EDGE}/{look}", OWNER))).status == 400
        assert origin.heard == []


async def test_responses_with_vary_are_cached_apart_and_never_mixed_between_readers() -> None:
    async with RawOrigin() as origin, edge_serving(origin) as gateway:
        for vary in ("Accept", "Accept, Accept-Language", "Accept-Language", "accept,,", "*"):
            fields = ("Cache-Control: max-age=60", f"Vary: {vary}")
            for one in ("a", "b"):
                origin.scripts = [answer(f"{vary}{one}".encode(), *fields)]
                asked = get(f"{EDGE}/s", f"Accept: {vary}{one}", f"Accept-Language: {vary}{one}")
                told = await gateway.ask(asked)
                assert told.body == f"{vary}{one}".encode()
                origin.scripts = [answer(b"other", *fields)]
                again = await gateway.ask(asked)
                assert again.body == (b"other" if vary == "*" else told.body)
