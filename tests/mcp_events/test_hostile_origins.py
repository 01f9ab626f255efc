"""Hostile input before an HTTP origin, from hosts of MCP and from the origin itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from mcp.shared.exceptions import MCPError

from tests.mcp_events.hosts import numbers
from tests.mcp_events.origins import before, before_own
from tests.support.serving import EDGE, request
from tests.support.web_servers import web_server
from tests.test_settings import problems

if TYPE_CHECKING:
    from pathlib import Path

CHAIN = "A" * 16


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("x", id="no-cursor"),
        pytest.param("1.0000000000000000_0000000000000042.0", id="a-cursor-of-a-log"),
        pytest.param(f"o{CHAIN}.0.0.now", id="a-cursor-at-now"),
        pytest.param(f"o{CHAIN}.0.0.a&live=sse", id="an-offset-with-a-query"),
        pytest.param(f"o{CHAIN}.0.0." + "1" * 257, id="a-long-offset"),
        pytest.param(f"o{CHAIN}.{'9' * 16}.0.1", id="a-large-number"),
        pytest.param(f"o{CHAIN}.0.0.abc", id="an-offset-that-the-origin-refuses"),
        pytest.param(5, id="a-number"),
    ],
)
async def test_a_forged_cursor_of_an_origin_is_refused(cursor: object) -> None:
    async with before_own() as it, it.host() as client:
        await it.create("a", {"n": 1})
        with pytest.raises(MCPError) as refused:
            await client.poll("a", cursor)  # type: ignore[arg-type] # as a hostile client would
        assert refused.value.error.code == -32602


async def test_a_cursor_that_counts_too_many_messages_is_truncated_at_the_tail() -> None:
    async with before_own() as it, it.host() as client:
        await it.create("a", [{"n": 1}, {"n": 2}])
        page = await client.poll("a", f"o{CHAIN}.0.999999999.-1")
        assert (page["events"], page["truncated"]) == ([], True)
        await it.append("a", {"n": 3})
        assert numbers(await client.poll("a", page["cursor"])) == [3]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../b", id="a-parent"),
        pytest.param("a/../b", id="a-parent-within"),
        pytest.param("__ds/x", id="a-control-path"),
        pytest.param("", id="no-name"),
        pytest.param("x" * 3000, id="a-long-name"),
    ],
)
async def test_names_that_lead_elsewhere_are_refused_or_are_no_stream(name: str) -> None:
    async with before_own() as it, it.host() as client:
        await it.create("b", {"n": 1})
        with pytest.raises(MCPError) as refused:
            await client.poll(name)
        assert refused.value.error.code == -32602


async def test_a_name_with_a_query_is_a_name() -> None:
    async with before_own() as it, it.host() as client:
        await it.create("b", {"n": 1})
        page = await client.poll("b?offset=-1", f"o{CHAIN}.0.0.-1")
        assert page["events"] == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[1,", id="a-cut-array"),
        pytest.param(b"{}", id="an-object"),
        pytest.param(b"\xff\xfe", id="no-text"),
        pytest.param(b"[" * 100_000, id="a-deep-array"),
    ],
)
async def test_an_origin_that_answers_with_no_json_is_an_error_of_the_poll(body: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        fields = {"Stream-Next-Offset": "5", "Stream-Up-To-Date": "true"}
        return web.Response(body=body, content_type="application/json", headers=fields)

    async with web_server(answer) as url, before(url) as it, it.host() as client:
        with pytest.raises(MCPError) as refused:
            await client.poll("a", f"o{CHAIN}.0.0.-1")
        assert refused.value.error.code == -32603


@pytest.mark.parametrize("status", [301, 401, 403, 429, 500, 503])
async def test_an_origin_that_refuses_is_an_error_of_the_poll(status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async with web_server(answer) as url, before(url) as it, it.host() as client:
        for cursor in (None, f"o{CHAIN}.0.0.-1"):
            with pytest.raises(MCPError) as refused:
                await client.poll("a", cursor)
            assert refused.value.error.code == -32603


async def test_the_endpoint_before_an_origin_takes_posts_only() -> None:
    async with before_own() as it:
        assert (await it.gateway.ask(request("GET", f"{EDGE}/mcp"))).status == 405
        assert (await it.gateway.ask(request("PUT", f"{EDGE}/mcp"))).status == 405


def test_events_are_refused_where_the_origin_decides_who_may_read(tmp_path: Path) -> None:
    route = '[[routes]]\nprefix = "/a"\norigin = "http://b"\nauth = "origin"\nmcp_events = true\n'
    (problem,) = problems(route, folder=tmp_path)
    assert "mcp_events" in problem
    assert "it cannot be asked who gets events" in problem
