"""The names of a server's streams, as a client lists them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import headgate
from headgate import sync
from headgate.streams import listing
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import PREFIX, Serving, serving
from tests.support.tokens_files import token, write_tokens
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

GRANTS = {"all": [("*", "read create")], "rooms": [("rooms/*", "read")]}
NAMES = ["%", "50% off", "a b", "größe/☕", "rooms/1", "rooms/2", "rooms-old"]
# Of these no name says what their paths do.
AS_URLS = ["a%2Fb", "localhost:80"]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Serving]:
    own = {"auth": ("tokens",), "listing": "on"}
    tokens_file = write_tokens(tmp_path, GRANTS, without="", prefix=PREFIX)
    async with serving(own=own, tokens_file=tokens_file) as served:
        async with headgate.Client(served.url, token=token("all")) as hg:
            for name in (*NAMES, *(f"{served.url}/{name}" for name in AS_URLS)):
                await hg.create(name)
        yield served


async def test_each_listed_name_leads_to_its_stream_whatever_is_in_it(gateway: Serving) -> None:
    async with headgate.Client(gateway.url, token=token("all")) as hg:
        names = [name async for name in hg.list()]
        assert sorted(names) == sorted([*NAMES, *(f"{gateway.url}/{name}" for name in AS_URLS)])
        urls = [(await hg.open(name)).url for name in names]
        assert urls == sorted(urls)
        assert [name async for name in hg.list("/rooms/")] == ["rooms/1", "rooms/2"]
        assert [name async for name in hg.list("größe/")] == ["größe/☕"]
        assert [name async for name in hg.list("50%")] == ["50% off"]
        assert [name async for name in hg.list("nothing")] == []


async def test_a_list_goes_on_over_its_pages(
    gateway: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with headgate.Client(gateway.url, token=token("all")) as hg:
        whole = [name async for name in hg.list()]
        for size in (1, 2, len(whole), len(whole) + 1):
            monkeypatch.setattr(listing, "PAGE", size)
            assert [name async for name in hg.list()] == whole


async def test_programs_with_threads_list_the_same_names(gateway: Serving) -> None:
    def listed() -> list[str]:
        with sync.Client(gateway.url, token=token("rooms")) as hg:
            return list(hg.list("rooms/"))

    assert await asyncio.to_thread(listed) == ["rooms/1", "rooms/2"]


async def test_a_list_that_is_not_permitted_or_not_there_says_what_to_do(gateway: Serving) -> None:
    async with headgate.Client(gateway.url, token=token("rooms")) as hg:
        with pytest.raises(headgate.NotAuthorized, match="it needs read"):
            await anext(hg.list())
    async with serving() as other, headgate.Client(other.url) as hg:
        with pytest.raises(headgate.StreamNotFound) as refused:
            await anext(hg.list("a"))
    assert refused.value.__notes__ == [
        'Ask a Headgate whose route says listing = "on", with a token that may read every stream '
        "with this prefix."
    ]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(b"<html>", "this is not a list of streams", id="a-page"),
        pytest.param(b'{"streams":["a"]}', "this is not a list of streams", id="no-next"),
        pytest.param(b'{"streams":[1],"next":null}', "this is not a list", id="a-number"),
        pytest.param(b'{"streams":[],"next":""}', "leads to an earlier page", id="a-circle"),
        pytest.param(
            b'{"streams":["' + b"a" * listing.MOST_BYTES + b'"],"next":null}',
            "this is not a list of streams",
            id="too-long",
        ),
    ],
)
async def test_what_another_server_answers_in_place_of_a_list_is_an_error(
    body: bytes, sentence: str
) -> None:
    async with (
        RawOrigin(answer(body, "Content-Type: application/json")) as origin,
        headgate.Client(origin.url, retries=0) as hg,
    ):
        with pytest.raises(headgate.ProtocolError, match=sentence):
            await anext(hg.list())


async def test_a_client_that_is_busy_with_another_list_gets_this_one_after_it(
    gateway: Serving,
) -> None:
    gateway.limits.lists_of.add("account token all")
    async with headgate.Client(gateway.url, token=token("all")) as hg:
        first = asyncio.ensure_future(anext(hg.list()))
        await until(lambda: gateway.limits.refused["client_lists"] > 0)
        gateway.limits.lists_of.clear()
        assert await first == "%"
