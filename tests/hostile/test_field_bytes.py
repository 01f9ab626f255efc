"""Bytes that are not UTF-8 in the header fields that this server reads: 400, and no traceback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.every_kind import (
    ANTHROPIC,
    BESIDE,
    EDGE,
    GUARDED,
    HOSTED,
    OPENAI,
    OWN_KEY,
    PROXY,
    TOKEN,
    every_kind,
    provider_of,
)
from tests.support.http1 import Client

if TYPE_CHECKING:
    from tests.support.http1 import Answer
    from tests.support.processes import Headgate

CHAT = b'{"model":"m","stream":true,"messages":[]}'
JSON, KEY = "Content-Type: application/json", "Authorization: Bearer sk-mine"
CHATS, RESPONSES = "v1/chat/completions", "v1/responses/resp_1"
# The field with the byte comes last.
REFUSED = (
    (f"POST {OPENAI}/{CHATS}", KEY, "Idempotency-Key: \xff"),
    (f"POST {OPENAI}/{CHATS}", KEY, "Headgate-Stream: \xff"),
    (f"POST {OPENAI}/{CHATS}", "Idempotency-Key: one", "Authorization: Bearer sk-\xff"),
    (f"POST {ANTHROPIC}/v1/messages", "Idempotency-Key: one", "X-Api-Key: sk-\xff"),
    (f"GET {OPENAI}/v1/models", "Authorization: Bearer sk-\xff"),
    (f"GET {OPENAI}/{RESPONSES}?stream=true", "Authorization: Bearer sk-\xff"),
    (f"POST {OWN_KEY}/{CHATS}", "Authorization: Bearer \xff"),
    (f"GET {OWN_KEY}/v1/models", "Authorization: Bearer \xff"),
    (f"POST {OWN_KEY}/{CHATS}", "Api-Key: \xff"),
    (f"POST {BESIDE}/{CHATS}", KEY, "Headgate-Token: \xff"),
    (f"GET {BESIDE}/v1/models", KEY, "Headgate-Token: \xff"),
    (f"POST {HOSTED}/mcp", JSON, "MCP-Protocol-Version: \xff"),
    (f"POST {HOSTED}/mcp", JSON, "Mcp-Method: \xff"),
    (f"PUT {HOSTED}/__ds/subscriptions/s", JSON, "Authorization: Bearer \xff"),
    (f"POST {HOSTED}/s", "Content-Type: text/plain", "Producer-Id: \xff"),
    (f"POST {EDGE}/s", "Content-Type: text/plain", "Stream-Seq: \xff"),
    (f"GET {HOSTED}/s?live=sse", "Last-Event-ID: \xff"),
    (f"GET {GUARDED}/s", "Authorization: Bearer \xff"),
    (f"POST {PROXY}", "Upstream-URL: URL", "Upstream-Method: GET", "Upstream-Authorization: \xff"),
    (f"POST {PROXY}", "Upstream-Method: GET", "Upstream-URL: http://\xff/"),
    # Fields that are only passed on: aiohttp would send them without the byte.
    (f"POST {OPENAI}/{CHATS}", KEY, "X-Title: \xff"),
    (f"GET {OPENAI}/v1/models", KEY, "X-Title: \xff"),
    (f"POST {PROXY}", "Upstream-URL: URL", "Upstream-Method: POST", "X-Title: \xff"),
)
UTF_8 = "\u00e9".encode().decode("latin-1")
# Latin-1 or opaque, as HTTP has them; what is sent to nobody matters to nobody.
TAKEN = (
    (f"GET {HOSTED}/probe?offset=-1", 'If-None-Match: "\xff"'),
    (f"GET {HOSTED}/probe?offset=-1", "User-Agent: \xff"),
    (f"GET {HOSTED}/probe?offset=-1", "Cookie: a=\xff"),
    (f"GET {HOSTED}/probe?offset=-1", "Origin: http://\xff"),
    (f"GET {HOSTED}/probe?offset=-1", "X-Request-Id: \xff", "Referer: http://\xff/"),
    (f"GET {HOSTED}/probe?offset=-1", "X-Forwarded-For: \xff", "Forwarded: for=\xff"),
    (f"GET {HOSTED}/probe?offset=-1", "Traceparent: \xff", "Accept-Encoding: \xff"),
    ("GET /", "Accept: \xff"),
    (f"POST {OPENAI}/{CHATS}", KEY, f"Idempotency-Key: {UTF_8}"),
)


async def answers(
    gateway: Headgate, line: str, *fields: str, port: int | None = None
) -> list[Answer]:
    """Send a request twice over one connection: what was parsed once may be remembered."""
    body = CHAT if not line.startswith("GET") else b""
    lines = [f"{line} HTTP/1.1", "Host: localhost", *fields]
    if JSON not in fields and body and not any(one.startswith("Content-Type") for one in fields):
        lines.append(JSON)
    if body:
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join([*lines, "", ""]).replace(": URL", f": {provider_of(gateway)}/x")
    client = await Client.connect(port or gateway.port)
    found = []
    try:
        for _ in range(2):
            client.send(head.encode("latin-1") + body)
            found.append(await client.whole(await client.head()))
    finally:
        client.close()
    return found


@pytest.mark.usefixtures("processes")
async def test_a_byte_that_is_not_utf_8_is_400_in_a_field_that_is_read_and_nothing_elsewhere() -> (
    None
):
    async with every_kind({}) as gateway:
        probe = f"PUT {HOSTED}/probe", "Content-Type: text/plain"
        assert [one.status for one in await answers(gateway, *probe)] == [201, 200]
        found = {}
        for line, *fields in (*REFUSED, *TAKEN):
            for answer in await answers(gateway, line, *fields):
                names = fields[-1].partition(":")[0] in answer.body.decode()
                found[line, fields[-1]] = answer.status, names if answer.status == 400 else True
        right = dict.fromkeys(((it[0], it[-1]) for it in REFUSED), (400, True))
        right |= dict.fromkeys(((it[0], it[-1]) for it in TAKEN), (200, True))
        assert found == right
        assert "Traceback" not in gateway.output()


# The pages and lists of the console that name clients by their User-Agent.
OF_CLIENTS = (
    *("/api/v1/loudest", "/api/v1/readers", "/api/v1/tokens", "/clients?show=usage"),
    *("/clients?show=readers", "/clients?show=tokens", "/clients?show=refusals", "/metrics"),
)


@pytest.mark.usefixtures("processes")
async def test_the_console_lists_clients_whose_user_agent_is_not_utf_8() -> None:
    agent, bearer = "User-Agent: a\xff\u00e9", f"Authorization: Bearer {TOKEN}"
    async with every_kind({}) as gateway:
        for prefix in (HOSTED, GUARDED):
            await answers(gateway, f"PUT {prefix}/s", "Content-Type: text/plain", bearer, agent)
        reader = await Client.connect(gateway.port)
        head = f"GET {HOSTED}/s?offset=now&live=sse HTTP/1.1\r\nHost: localhost\r\n{agent}\r\n\r\n"
        reader.send(head.encode("latin-1"))
        assert (await reader.head()).status == 200
        found = {}
        for path in OF_CLIENTS:
            (found[path], _) = await answers(
                gateway, f"GET {path}", bearer, port=gateway.admin_port
            )
        reader.close()
        assert {path: answer.status for path, answer in found.items()} == dict.fromkeys(
            OF_CLIENTS, 200
        )
        lists = [json.loads(found[path].body) for path in OF_CLIENTS[:3]]
        agents = {it["user_agent"] for it in (*lists[0]["clients"], *lists[1]["rows"])}
        agents |= {it["user_agent"] for it in lists[2]["tokens"][0]["use"]["places"]}
        assert agents == {None, "a??"}
        assert "\\udc" not in gateway.output()
