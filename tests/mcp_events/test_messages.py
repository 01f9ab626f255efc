"""What comes to /mcp as JSON-RPC, well formed or not, and over which kind of HTTP request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.errors import StartError
from headgate_gateway.features.mcp.event_types import event_types
from tests.mcp_events.hosts import create, guarded, offering
from tests.support.serving import PREFIX, get, post, put, request, serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.http1 import Answer
    from tests.support.serving import Serving

STATELESS = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientCapabilities": {},
}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


async def send(gateway: Serving, body: bytes | object, *lines: str) -> Answer:
    """Send a message, or bytes as they are."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await gateway.ask(post(f"{PREFIX}/mcp", text, *lines, content_type="application/json"))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param(b"", 400, -32700, id="nothing"),
        pytest.param(b"{", 400, -32700, id="no-json"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', 400, -32700, id="no-utf-8"),
        pytest.param(b"[" * 10_000, 400, -32700, id="nested-deeply"),
        pytest.param(b"1", 400, -32600, id="a-number"),
        pytest.param(b"[]", 400, -32600, id="an-empty-batch"),
        pytest.param([PING], 400, -32600, id="a-batch"),
        pytest.param({"id": 1, "method": "ping"}, 400, -32600, id="no-version-of-json-rpc"),
        pytest.param({**PING, "method": 7}, 400, -32600, id="a-method-that-is-no-text"),
        pytest.param({**PING, "id": None}, 400, -32600, id="an-id-of-null"),
        pytest.param({**PING, "id": True}, 400, -32600, id="an-id-of-true"),
        pytest.param({**PING, "id": {}}, 400, -32600, id="an-id-that-is-an-object"),
        pytest.param({**PING, "params": [1]}, 400, -32602, id="params-that-are-a-list"),
        pytest.param({**PING, "method": "tools/call"}, 200, -32601, id="an-unknown-method"),
        pytest.param({**PING, "method": "server/discover"}, 200, -32601, id="a-later-method"),
    ],
)
async def test_malformed_messages_get_the_error_of_json_rpc(
    body: bytes | object, status: int, code: int
) -> None:
    async with offering() as gateway:
        answer = await send(gateway, body)
        told = json.loads(answer.body)
        assert (answer.status, told["error"]["code"]) == (status, code)
        assert "result" not in told


def ping(params: str, size: int = 0) -> bytes:
    """Return a request with these members in its params, and blanks up to a size."""
    text = f'{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{{params}}}}}'
    return text.ljust(size).encode()


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        pytest.param(ping("", 64 << 10), 200, "", id="longest"),
        pytest.param(ping("", (64 << 10) + 1), 400, "over 65536 bytes", id="longer"),
        pytest.param(ping('"a":[%s0]' % ("0," * 9_994)), 200, "", id="most-values"),
        pytest.param(ping('"a":[%s0]' % ("0," * 9_995)), 400, "over 10000 values", id="more"),
    ],
)
async def test_a_body_has_the_most_bytes_and_values_and_no_more(
    body: bytes, status: int, reason: str
) -> None:
    async with offering(max_append=2 << 20) as gateway:
        answer = await send(gateway, body)
        told = json.loads(answer.body)
        assert answer.status == status
        assert told.get("error", {"message": ""})["message"].endswith(reason)


@pytest.mark.parametrize(
    ("lines", "params", "status", "code"),
    [
        pytest.param(["MCP-Protocol-Version: 1999-01-01"], {}, 400, -32022, id="an-unknown-one"),
        pytest.param(["MCP-Protocol-Version: 2026-07-28"], {}, 400, -32602, id="without-meta"),
        pytest.param([], {"_meta": META}, 400, -32020, id="in-the-message-alone"),
        pytest.param(
            ["MCP-Protocol-Version: 2025-11-25"], {"_meta": META}, 400, -32020, id="two-versions"
        ),
        pytest.param(
            ["MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call"],
            {"_meta": META},
            400,
            -32020,
            id="another-method",
        ),
        pytest.param(
            ["MCP-Protocol-Version: 2026-07-28", "Mcp-Method: ping"],
            {"_meta": {"io.modelcontextprotocol/protocolVersion": STATELESS}},
            400,
            -32602,
            id="without-capabilities",
        ),
    ],
)
async def test_versions_that_are_unknown_or_contradict_each_other_are_refused(
    lines: list[str], params: dict[str, Any], status: int, code: int
) -> None:
    async with offering() as gateway:
        answer = await send(gateway, {**PING, "params": params}, *lines)
        told = json.loads(answer.body)
        assert (answer.status, told["error"]["code"], told["id"]) == (status, code, 1)


async def test_unknown_methods_are_a_404_in_the_version_without_sessions() -> None:
    async with offering() as gateway:
        lines = ("MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call")
        call = {**PING, "method": "tools/call", "params": {"_meta": META}}
        answer = await send(gateway, call, *lines)
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (404, -32601)


async def test_notifications_and_responses_are_accepted_without_a_body() -> None:
    async with offering() as gateway:
        for message in (
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "id": 1, "result": {}},
        ):
            answer = await send(gateway, message)
            assert (answer.status, answer.body) == (202, b"")


async def test_a_handshake_names_a_version_that_is_known_and_no_session() -> None:
    async with offering() as gateway:
        for requested, spoken in [("2025-06-18", "2025-06-18"), ("2031-01-01", "2025-11-25")]:
            params = {"protocolVersion": requested, "capabilities": {}, "clientInfo": {}}
            answer = await send(gateway, {**PING, "method": "initialize", "params": params})
            told = json.loads(answer.body)["result"]
            assert told["protocolVersion"] == spoken
            assert told["capabilities"]["events"] == {"listChanged": False}
            assert answer.get("Mcp-Session-Id") is None


@pytest.mark.parametrize(
    ("own", "status"),
    [
        pytest.param({}, 401, id="guarded"),
        pytest.param({"conceal": "on"}, 404, id="concealed"),
        pytest.param({"anonymous": ("read",)}, 200, id="open-to-readers"),
    ],
)
async def test_a_host_without_a_token_is_admitted_where_anybody_may_read(
    own: dict[str, object], status: int, tmp_path: Path
) -> None:
    async with guarded(tmp_path, own=own) as gateway:
        answer = await send(gateway, PING)
        assert answer.status == status
        assert (answer.get("WWW-Authenticate") is not None) == (status == 401)
        wrong = await send(gateway, PING, "Authorization: Bearer nobody-0123456789abcdef")
        assert wrong.status == (404 if "conceal" in own else 401)
        params = {"name": "stream.appended", "arguments": {"stream": "a"}}
        call = {"jsonrpc": "2.0", "id": 1, "method": "events/poll", "params": params}
        polled = await send(gateway, call)
        assert polled.status == status


async def test_other_requests_to_the_path_are_refused() -> None:
    async with offering() as gateway:
        for asked in (get(f"{PREFIX}/mcp"), put(f"{PREFIX}/mcp"), request("DELETE", "mcp")):
            answer = await gateway.ask(asked)
            assert (answer.status, answer.get("Allow")) == (405, "POST")
        answer = await gateway.ask(post(f"{PREFIX}/mcp", b"{}", content_type="text/plain"))
        assert answer.status == 400
        own = f"Origin: http://127.0.0.1:{gateway.port}"
        assert (await send(gateway, PING, "Origin: https://evil.example")).status == 403
        assert (await send(gateway, PING, own, f"Host: 127.0.0.1:{gateway.port}")).status in {
            200,
            400,
        }


async def test_the_front_page_and_the_404_of_another_path_name_the_place() -> None:
    async with offering() as gateway:
        page = json.loads((await gateway.ask(get("/"))).body)
        assert page["mcp"] == [{"path": f"{PREFIX}/mcp"}]
        shown = await gateway.ask(get("/", "Accept: text/html"))
        assert f"<li><code>{PREFIX}/mcp</code></li>".encode() in shown.body
        missed = await gateway.ask(post("/mcp", b"{}", content_type="application/json"))
        assert missed.status == 404
        assert f"hosts of MCP connect at {PREFIX}/mcp" in missed.json()["detail"]
    async with serving() as gateway:
        assert "mcp" not in json.loads((await gateway.ask(get("/"))).body)
        assert b"MCP" not in (await gateway.ask(post("/mcp", b"{}"))).body


async def test_without_the_setting_a_stream_may_have_the_name() -> None:
    async with serving() as gateway:
        await create(gateway, "mcp", b'{"n":1}')
        assert (await gateway.ask(get(f"{PREFIX}/mcp"))).body == b'[{"n":1}]'


async def test_only_the_first_segment_is_taken_for_the_path_of_mcp() -> None:
    async with offering() as gateway:
        await create(gateway, "a/mcp", b'{"n":1}')
        await create(gateway, "mcp/a", b'{"n":1}')
        assert (await gateway.ask(get(f"{PREFIX}/a/mcp"))).status == 200


NAMED = "[[events]]\nname = 'a'\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(NAMED, id="no-streams"),
        pytest.param("[[events]]\nname = 'a b'\nstreams = 'x'", id="a-name-with-a-space"),
        pytest.param(f"{NAMED}streams = 'x*'", id="a-star-in-a-segment"),
        pytest.param(f"{NAMED}streams = 'x'\nother = 1", id="an-unknown-key"),
        pytest.param(f"{NAMED}streams = 'x'\n{NAMED}streams = 'y'", id="a-name-twice"),
        pytest.param("[[events", id="no-toml"),
    ],
)
async def test_a_file_that_is_malformed_stops_the_start(text: str, tmp_path: Path) -> None:
    path = tmp_path / "events.toml"
    path.write_text(text)
    with pytest.raises(StartError, match="the event types are not valid"):
        event_types(str(path))
    with pytest.raises(StartError, match="cannot be read"):
        event_types(str(tmp_path / "none.toml"))
