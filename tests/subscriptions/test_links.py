"""Streams are linked by name beside the pattern, and unlinked again."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from headgate_gateway.features.subscriptions.shared import streams
from tests.subscriptions.receivers import subscribed
from tests.support.serving import PREFIX


async def types(gateway: object, name: str = "s") -> dict[str, str]:
    """Return the kinds of links by stream."""
    _, told = await gateway.ask("GET", name)  # type: ignore[attr-defined] # a Subscribed
    return {one["path"]: one["link_type"] for one in told["streams"]}


@pytest.mark.parametrize("path", ["manual/b", "manual%2Fb", "%2Fmanual%2Fb%2F"])
async def test_an_explicit_link_is_removed_by_its_path_however_it_is_encoded(path: str) -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", streams=["manual/a"])
        assert await gateway.ask("POST", "s/streams", {"streams": ["/manual/b"]}) == (204, b"")
        assert (await types(gateway)).keys() == {"manual/a", "manual/b"}
        assert await gateway.ask("DELETE", f"s/streams/{path}") == (204, b"")
        assert (await types(gateway)).keys() == {"manual/a"}
        assert (await gateway.ask("DELETE", f"s/streams/{path}"))[0] == 204


async def test_a_name_with_an_encoded_slash_is_another_than_a_path() -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", streams=["a%2Fb", "a/b"])
        assert (await gateway.ask("DELETE", f"s/streams/{quote('a%2Fb', safe='')}"))[0] == 204
        assert (await types(gateway)).keys() == {"a/b"}


@pytest.mark.parametrize("name", ["a/%2A", "a/x%40y", "100%25", "a%2Fb", "a/%C3%A9", "%2525"])
async def test_a_link_is_removed_by_its_name_encoded_once_more(name: str) -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", streams=[name, "other"])
        for path in (quote(name, safe=""), quote(name)):
            await gateway.ask("POST", "s/streams", {"streams": [name]})
            assert (await gateway.ask("DELETE", f"s/streams/{path}"))[0] == 204
            assert (await types(gateway)).keys() == {"other"}


async def test_a_stream_that_is_created_while_it_is_linked_by_name_begins_at_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="a/*")
        read = gateway.engine.streams.read

        async def create_before(names: Any) -> Any:
            await gateway.create("a/b", body=b'{"n":1}')
            return await read(names)

        with monkeypatch.context() as patched:
            patched.setattr(gateway.engine.streams, "read", create_before)
            await gateway.ask("POST", "s/streams", {"streams": ["a/b"]})
        assert await types(gateway) == {"a/b": "explicit"}
        assert (await gateway.cursors("s"))["a/b"] == "-1"
        assert (await gateway.claim())[0] == 200


@pytest.mark.parametrize("names", [None, [], "a", [1], [""], ["__ds/x"], ["wakes"]])
async def test_what_cannot_be_linked_is_refused(names: object) -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="events/*")
        status, told = await gateway.ask("POST", "s/streams", {"streams": names})
        assert (status, told["error"]["code"]) == (400, "INVALID_REQUEST")


async def test_a_star_in_a_name_is_matched_by_its_code_alone() -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="a/%2A")
        for name in ("a/x", "a/*"):
            await gateway.create(name, body=b'{"n":1}')
        assert (await types(gateway)).keys() == {"a/*"}


async def test_more_names_than_are_read_together_are_linked_each_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams.SharedStreams, "read_at_once", 2)
    async with subscribed() as gateway:
        ends = {}
        for name in ("a", "b", "c"):
            ends[name] = (await gateway.create(name, body=b'{"n":1}')).next_offset
        await gateway.create("closed", "Stream-Closed: true")
        await gateway.create("base", body=b'{"n":1}')
        await gateway.create("fork", f"Stream-Forked-From: {PREFIX}/base")
        assert await gateway.delete("base") == 204  # kept for its fork
        names = ["a", "absent", "b", "base", "c", "closed"]
        await gateway.pull("s", streams=names)
        cursors = await gateway.cursors("s")
        assert {name: cursors[name] for name in ends} == ends
        assert list(cursors) == names
        assert cursors["absent"] == cursors["base"] == "-1"
        assert (await gateway.claim())[0] == 409
        await gateway.create("absent", body=b'{"n":1}')
        _, claimed = await gateway.claim()
        assert [it["path"] for it in claimed["streams"] if it["has_pending"]] == ["absent"]
