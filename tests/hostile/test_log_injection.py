"""Lines of the log that nobody wrote (S25): one request is one line, in which nothing that a client
sends ends the line, speaks to a terminal, turns text around or is a secret.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.http1 import Wire, ask
from tests.support.processes import headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

CANARY = "canary-secret"
INJECTED = (
    *("%0a", "%0d%0a", "%1b[2J", "%00", "\u202e", "\u2066", "%e2%80%ae", "\u2028", "%e2%80%a8"),
    *("\u0085", '"}', '","level":"error', "\\n", "\\u000a", "\\", "{}", "%22%7d%0a%7b", "\xff"),
)
RAW = (
    b"\x1b[31m",
    b"\x9b31m",
    b"\xe2\x80\xae",
    b"\xe2\x80\xa8",
    b"\xff\xfe",
    b'"}',
    b"\\",
    b"\x85",
)
FIELDS = ("User-Agent", "X-Forwarded-For", "Forwarded", "X-Request-Id", "Origin", "Referer")
SECRETS = ("Authorization: Bearer", "Cookie: session=", "Proxy-Authorization: Basic")
NOT_HTTP = (b"\x1b[2J\r\n\r\n", b"GET / HTTP/1.1\nevent: forged\r\n\r\n", b"\x16\x03\x01\r\n\r\n")


def _requests() -> list[bytes]:
    tail = b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    asked = [f"GET /v1/stream/a{one}b".encode() + tail + b"\r\n" for one in INJECTED]
    asked += [
        f"GET /v1/stream/a?x={one}&token={CANARY}".encode() + tail + b"\r\n" for one in INJECTED
    ]
    asked += [
        b"GET /v1/stream/a" + tail + name.encode() + b": a" + raw + b"b\r\n\r\n"
        for name in FIELDS
        for raw in RAW
    ]
    asked += [
        b"GET /v1/stream/a" + tail + f"{secret} {CANARY}\r\n\r\n".encode() for secret in SECRETS
    ]
    return [*asked, *NOT_HTTP]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("shape", ["json", "console"])
def test_a_request_with_control_characters_is_one_printable_log_line(
    shape: str, tell: Callable[[str], None]
) -> None:
    told = {"HEADGATE_LOG__REQUESTS": "info", "HEADGATE_LOG__FORMAT": shape}
    asked = _requests()
    with headgate(environment=told) as server:
        before = len(server.output().splitlines())
        for data in asked:
            with Wire(server.port) as wire:
                wire.send(data)
                assert wire.answer().status in {400, 404}, data
        ask(server.port, "GET", "/v1/stream/the-last-one")
        wait_until(lambda: "the-last-one" in server.output(), "the last line", server.output)
        lines = server.output().split("\n")[before:-1]
    assert len(lines) == len(asked) + 1
    assert all(line.isprintable() for line in lines)
    assert CANARY not in "".join(lines)
    if shape == "json":
        events = [json.loads(line) for line in lines]
        assert {(event["event"], event["level"]) for event in events} == {("request", "info")}
        assert all(line.isascii() for line in lines)
    tell(f"{len(asked)} requests, {shape}")
