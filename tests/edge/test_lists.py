"""The list of streams before an HTTP origin: it is the origin's, and no cache keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, PREFIX, edge_serving, get, put, request, serving
from tests.support.tokens_files import token, write_tokens

if TYPE_CHECKING:
    from pathlib import Path

LIST = f"{EDGE}/__ds/streams?after=&begins=a"
BODY = b'{"streams":["a"],"next":null}'
SAYS = {
    "nothing": (),
    "public": ("Cache-Control: public, max-age=60",),
    "for CDNs": ("CDN-Cache-Control: max-age=60", "Surrogate-Control: max-age=60"),
    "expires": (
        "Expires: Fri, 15 Jan 2100 08:00:00 GMT",
        "Last-Modified: Fri, 15 Jan 2021 08:00:00 GMT",
    ),
    "no-store": ("Cache-Control: no-store",),
}


@pytest.mark.parametrize("fields", SAYS.values(), ids=SAYS)
async def test_each_request_for_a_list_goes_to_the_origin_whatever_it_says_of_caching(
    fields: tuple[str, ...],
) -> None:
    played = [answer(BODY, "Content-Type: application/json", *fields)] * 4
    async with RawOrigin(*played) as origin, edge_serving(origin) as gateway:
        client = await gateway.connect()
        for ask in (client.ask, client.ask, client.ask, gateway.ask):
            got = await ask(get(LIST))
            assert (got.status, got.body) == (200, BODY)
            assert got.get("cache-control") == "no-store"
            assert not {"cdn-cache-control", "surrogate-control", "expires"} & got.headers.keys()
        assert [heard.method for heard in origin.heard] == ["GET"] * 4
        assert len({heard.target for heard in origin.heard}) == 1
        assert not gateway.store


async def test_readers_get_the_lists_that_the_origin_has_for_their_tokens(tmp_path: Path) -> None:
    grants = {"all": [("*", "read create")], "team": [("team/*", "read")]}
    tokens_file = write_tokens(tmp_path, grants, without="", prefix=PREFIX)
    own = {"auth": ("tokens",), "listing": "on"}
    async with (
        serving(own=own, tokens_file=tokens_file) as origin,
        edge_serving(origin) as gateway,
    ):
        every = f"Authorization: Bearer {token('all')}"
        for name in ("other", "team/a"):
            created = await origin.ask(put(f"{PREFIX}/{name}", every))
            assert created.status == 201
        for who, query, status in (
            ("all", "", 200),
            ("team", "", 403),
            ("all", "?begins=team/", 200),
            ("team", "?begins=team/", 200),
            (None, "?begins=team/", 401),
        ):
            lines = () if who is None else (f"Authorization: Bearer {token(who)}",)
            asked = request("GET", f"{EDGE}/__ds/streams{query}", *lines)
            got = await gateway.ask(asked)
            there = await origin.ask(asked.replace(EDGE.encode(), PREFIX.encode()))
            assert (got.status, got.body) == (status, there.body), (who, query)
            assert got.get("cache-control") == "no-store"
