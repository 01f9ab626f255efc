"""Web cache deception (S5): a stranger sends somebody a link to their own private page, dressed as
a public file, and then asks for what a cache has kept of it.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.support.raw_origin import RawOrigin, answer
from tests.web.serving import EDGE, edge_serving, get

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw_origin import Wire

PRIVATE = f"{EDGE}/private/account"
DRESSES = (
    *("", "/x.css", ".css", ".js", "/logo.png", "/favicon.ico", "/robots.txt", "/index.html"),
    *(";.js", ";/x.css", "%3b.css", "%2fx.css", "%0a.css", "%00.css", "%23.css", "%3fx.css"),
    *("/%2e%2e/static/x.css", "/../static/x.css", "/..%2fstatic/x.css", "/.css", "/;x=.css"),
    *("?x.css", "?v=1.css", "?/static/x.css", "?utm_x=.css", "%5cx.css", "\\x.css", "%2520.css"),
    *("/wp-content/x.js", "/assets/app.js", "/static/", "/_next/static/x.js", ".well-known/x"),
)
PRIVATE_BY = (
    (),  # says nothing: the reader's cookie makes it that reader's own
    ("Cache-Control: max-age=600",),
    ("Cache-Control: private, max-age=600",),
    ("Cache-Control: no-store",),
    ("Cache-Control: no-cache",),
    ("Cache-Control: public, max-age=600", "Vary: Cookie"),
    ("Cache-Control: public, max-age=600", "Vary: *"),
)


class Pages(RawOrigin):
    """Takes every dress for the same page of its reader, as lenient servers do."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        super().__init__(self._page)
        self._fields = ("Content-Type: text/css", *fields)

    async def _page(self, wire: Wire) -> None:
        whose = wire.heard.named.get("cookie", "nobody")
        await wire.send(answer(f"the page of {whose}".encode(), *self._fields))


@pytest.mark.parametrize("fields", PRIVATE_BY, ids=lambda it: "; ".join(it) or "nothing said")
async def test_a_private_page_stays_private_however_its_path_is_dressed(
    fields: tuple[str, ...], tell: Callable[[str], None]
) -> None:
    strangers = ((), ("Cookie: mallory",), ("Authorization: Bearer mallory",))
    tried = 0
    async with Pages(fields) as origin, edge_serving(origin) as gateway:
        for dress, stranger in product(DRESSES, strangers):
            theirs = await gateway.ask(get(f"{PRIVATE}{dress}", "Cookie: alice"))
            stolen = await gateway.ask(get(f"{PRIVATE}{dress}", *stranger))
            tried += 1
            assert (theirs.body == b"the page of alice") is (theirs.status == 200)
            assert theirs.status in {200, 400}
            assert b"alice" not in stolen.body
            assert stolen.status == theirs.status
    tell(f"{tried} thefts")


async def test_a_path_like_a_files_is_not_what_makes_an_answer_public() -> None:
    """Of two pages whose origin says the same, the dressed one is kept no longer."""
    for fields in ((), ("Cache-Control: public, max-age=600",)):
        async with Pages(fields) as origin, edge_serving(origin) as gateway:
            told = []
            for dress in ("", "/x.css", ".js", ";.png"):
                await gateway.ask(get(f"{PRIVATE}{dress}"))
                said = await gateway.ask(get(f"{PRIVATE}{dress}"))
                told.append((said.get("x-cache"), said.get("cache-control")))
            assert len(set(told)) == 1
