"""A host of MCP lists event types and polls for the events of a stream."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from mcp.shared.exceptions import MCPError

from tests.mcp_events.hosts import (
    VERSIONS,
    append,
    close,
    create,
    host,
    numbers,
    offering,
    types_file,
)
from tests.support.serving import PREFIX, post, put

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("mode", [*VERSIONS, "auto"])
async def test_a_host_connects_and_lists_the_event_type_of_all_streams(mode: str) -> None:
    async with offering() as gateway, host(gateway, mode) as client:
        listed = await client.ask("events/list")
        (event,) = listed["events"]
        assert event["name"] == "stream.appended"
        assert event["delivery"] == ["push", "poll"]
        assert event["inputSchema"]["properties"].keys() == {"stream"}
        assert event["payloadSchema"]["required"] == ["stream", "offset"]
        assert (await client.client.list_tools()).tools == []


@pytest.mark.parametrize(("mode", "version"), [("legacy", "2025-11-25"), ("auto", "2026-07-28")])
async def test_the_extension_is_declared_in_both_kinds_of_version(mode: str, version: str) -> None:
    async with offering() as gateway, host(gateway, mode) as client:
        assert client.client.protocol_version == version
        extensions = client.client.server_capabilities.extensions
        assert extensions == {"io.modelcontextprotocol/events": {"listChanged": False}}


@pytest.mark.parametrize("mode", VERSIONS)
async def test_polls_give_each_event_once_from_the_first_poll_on(mode: str) -> None:
    async with offering() as gateway, host(gateway, mode) as client:
        await create(gateway, "a", b'{"n":0}')
        first = await client.poll("a")
        assert (first["events"], first["hasMore"], first["truncated"]) == ([], False, False)
        await append(gateway, "a", {"n": 1})
        await append(gateway, "a", [{"n": 2}, {"n": 3}])
        second = await client.poll("a", first["cursor"])
        assert numbers(second) == [1, 2, 3]
        event = second["events"][0]
        assert event["name"] == "stream.appended"
        assert event["data"]["stream"] == "a"
        assert event["timestamp"].endswith("Z")
        assert len({one["eventId"] for one in second["events"]}) == 3
        third = await client.poll("a", second["cursor"])
        assert third["events"] == []
        again = await client.poll("a", first["cursor"])
        assert [it["eventId"] for it in again["events"]] == [
            it["eventId"] for it in second["events"]
        ]


async def test_a_poll_of_few_events_ends_within_an_append_and_goes_on_there() -> None:
    async with offering() as gateway, host(gateway) as client:
        await create(gateway, "a")
        cursor = (await client.poll("a"))["cursor"]
        await append(gateway, "a", [{"n": n} for n in range(5)])
        found: list[Any] = []
        pages = []
        for _ in range(3):
            page = await client.poll("a", cursor, maxEvents=2)
            cursor = page["cursor"]
            found += numbers(page)
            pages.append(page["hasMore"])
        assert found == [0, 1, 2, 3, 4]
        assert pages == [True, True, False]


async def test_a_stream_that_is_created_later_counts_from_its_beginning() -> None:
    async with offering() as gateway, host(gateway) as client:
        first = await client.poll("later")
        await create(gateway, "later", b'{"n":1}')
        page = await client.poll("later", first["cursor"])
        assert (numbers(page), page["truncated"]) == ([1], False)


async def test_a_stream_that_is_created_again_is_told_as_a_gap() -> None:
    async with offering() as gateway, host(gateway) as client:
        await create(gateway, "a", b'{"n":1}')
        cursor = (await client.poll("a"))["cursor"]
        await gateway.route.lifecycle.delete("a", None)
        await create(gateway, "a", b'{"n":2}')
        page = await client.poll("a", cursor)
        assert (numbers(page), page["truncated"]) == ([2], True)


async def test_the_close_of_a_stream_is_an_event_and_comes_once() -> None:
    async with offering() as gateway, host(gateway) as client:
        await create(gateway, "a")
        cursor = (await client.poll("a"))["cursor"]
        await append(gateway, "a", {"n": 1})
        await close(gateway, "a")
        found = []
        for _ in range(3):
            page = await client.poll("a", cursor)
            cursor = page["cursor"]
            found += page["events"]
        assert [one["data"].get("closed", False) for one in found] == [False, True]
        assert (await client.poll("a"))["events"] == []  # it was closed before


async def test_types_in_a_file_have_their_streams_schema(tmp_path: Path) -> None:
    file = types_file(
        tmp_path,
        """
[[events]]
name = "order.updated"
description = "An order has changed."
streams = "orders/*"
message_schema = { type = "object", properties = { n = { type = "integer" } } }

[[events]]
name = "news"
streams = "news"
""",
    )
    async with offering(own=file) as gateway, host(gateway) as client:
        orders, news = (await client.ask("events/list"))["events"]
        message = orders["payloadSchema"]["properties"]["message"]
        assert message["properties"] == {"n": {"type": "integer"}}
        assert news["inputSchema"]["properties"] == {}
        await create(gateway, "orders/7")
        asked: dict[str, Any] = {"name": "order.updated", "arguments": {"stream": "orders/7"}}
        cursor = (await client.ask("events/poll", **asked))["cursor"]
        await append(gateway, "orders/7", [{"n": 1}, {"n": 2}])
        page = await client.ask("events/poll", **asked, cursor=cursor)
        assert page["events"][0]["timestamp"] == "2027-01-15T08:00:00.000Z"  # of `serving`
        assert (numbers(page), page["truncated"]) == ([1, 2], False)
        assert (await client.ask("events/poll", name="news"))["events"] == []


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        pytest.param("text/plain", "{ü".encode(), {"text": "{ü"}, id="text"),
        pytest.param("text/plain", b"\xff", {"base64": "/w=="}, id="text-that-is-no-utf-8"),
        pytest.param("text/plain", b"\0" * 50_000, {"bytes": 50_000}, id="text-that-grows"),
        pytest.param("image/png", b"\x89P", {"base64": "iVA="}, id="bytes"),
        pytest.param("image/png", b"x" * 200_000, {"bytes": 200_000}, id="many-bytes"),
    ],
)
async def test_an_append_to_a_stream_of_another_type_is_an_event(
    content_type: str, body: bytes, expected: dict[str, Any], tmp_path: Path
) -> None:
    file = types_file(tmp_path, '[[events]]\nname = "e"\nstreams = "a"\n')
    async with offering(own=file) as gateway, host(gateway) as client:
        await gateway.ask(put(f"{PREFIX}/a", content_type=content_type))
        cursor = (await client.ask("events/poll", name="e"))["cursor"]
        await gateway.ask(post(f"{PREFIX}/a", body, content_type=content_type))
        (event,) = (await client.ask("events/poll", name="e", cursor=cursor))["events"]
        data = event["data"]
        assert {name: data[name] for name in data.keys() - {"stream", "offset"}} == expected
        assert len(json.dumps(event)) <= 256 << 10


async def test_a_message_that_is_too_long_for_an_event_is_told_by_its_length() -> None:
    async with offering() as gateway, host(gateway) as client:
        await create(gateway, "a")
        cursor = (await client.poll("a"))["cursor"]
        await append(gateway, "a", {"n": "x" * (256 << 10)})
        (event,) = (await client.poll("a", cursor))["events"]
        assert event["data"]["bytes"] > 256 << 10
        assert "message" not in event["data"]


@pytest.mark.parametrize("mode", VERSIONS)
@pytest.mark.parametrize(
    ("params", "code"),
    [
        pytest.param({"name": "other"}, -32011, id="an-unknown-type"),
        pytest.param({"name": 7}, -32011, id="a-type-that-is-no-text"),
        pytest.param({"name": "stream.appended"}, -32014, id="no-stream"),
        pytest.param({"arguments": {"stream": 7}}, -32602, id="a-stream-that-is-no-text"),
        pytest.param({"arguments": {"stream": "__ds/x"}}, -32602, id="a-reserved-name"),
        pytest.param({"arguments": {"strem": "a"}}, -32602, id="an-unknown-argument"),
        pytest.param({"arguments": [1]}, -32602, id="arguments-that-are-no-object"),
        pytest.param({"arguments": {"stream": "a"}, "cursor": "x"}, -32602, id="a-forged-cursor"),
        pytest.param({"arguments": {"stream": "a"}, "cursor": 1}, -32602, id="a-cursor-of-digits"),
        pytest.param({"arguments": {"stream": "a"}, "maxEvents": 0}, -32602, id="no-events"),
        pytest.param({"arguments": {"stream": "a"}, "maxEvents": "9"}, -32602, id="a-text"),
    ],
)
async def test_polls_that_are_not_valid_get_the_error_of_the_extension(
    mode: str, params: dict[str, Any], code: int
) -> None:
    async with offering() as gateway, host(gateway, mode) as client:
        await create(gateway, "a")
        with pytest.raises(MCPError) as refused:
            await client.ask("events/poll", **{"name": "stream.appended", **params})
        assert refused.value.error.code == code


@pytest.mark.parametrize(
    "cursor",
    [
        "99999999999999999999.0000000000000000_0000000000000000.0",
        "1.0000000000000009_0000000000000001.0",
        "1.0000000000000000_9999999999999999.999999999c",
    ],
)
async def test_cursors_that_lead_nowhere_lead_to_what_is_there(cursor: str) -> None:
    async with offering() as gateway, host(gateway) as client:
        await create(gateway, "a", b'{"n":1}')
        page = await client.poll("a", cursor)
        assert page["truncated"]
        assert (await client.poll("a", page["cursor"]))["events"] == []
