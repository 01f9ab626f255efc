"""A process keeps no tokens of those who have left, beyond what its libraries and its heap do."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.access.process_memory import found
from tests.support.http1 import Wire
from tests.support.processes import ANEW, headgate
from tests.support.tokens_files import static_token
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import Headgate

STREAM = "/v1/stream/s"
WRITER = "writer-0123456789abcdef-writer"
READERS = 1000
WAYS = ("header", "cookie", "query", "poll", "events")
# yarl remembers the targets of the last 128 requests as they were sent.
OF_TARGETS = 128
# Freed memory is not overwritten: measured are at most 20 of 200.
REMNANTS = 60


def _token(number: int) -> str:
    return f"canary-{number:04}-0123456789abcdef"


@pytest.fixture
def gateway(processes: None, tmp_path: Path) -> Iterator[Headgate]:
    entries = [static_token(f"p{one}", _token(one), STREAM) for one in range(READERS)]
    entries.append(static_token("writer", WRITER, STREAM, operations='["create"]'))
    file = tmp_path / "tokens.toml"
    file.write_text("".join(entries))
    environment = {"HEADGATE_CREDENTIALS__TOKENS_FILE": str(file), "HEADGATE_AUTH": "tokens"}
    with headgate(environment=environment, preface=ANEW) as server:
        yield server


def _read(wire: Wire, number: int) -> None:
    """By the way that is this one's turn; live readers are left waiting."""
    token, target, fields = _token(number), f"{STREAM}?offset=-1", {}
    way = WAYS[number % len(WAYS)]
    if way == "cookie":
        fields["Cookie"] = f"__Secure-headgate={token}"
    elif way == "query":
        target += f"&token={token}"
    else:
        fields["Authorization"] = f"Bearer {token}"
    if way in {"header", "cookie", "query"}:
        for _ in range(2):  # the second head is one that is remembered
            assert wire.request("GET", target, None, **fields).status == 200
        return
    lines = f"Host: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    live = "offset=now&live=long-poll" if way == "poll" else "offset=-1&live=sse"
    wire.send(f"GET {STREAM}?{live} HTTP/1.1\r\n{lines}".encode())
    if way == "events":
        assert wire.head().status == 200
        wire.chunk()


def _left(pid: int) -> Counter[str]:
    """Of how many readers the token stands somewhere in memory, by way."""
    there = found(pid, re.compile(rb"canary-(\d{4})-0123456789abcdef"))
    return Counter(WAYS[int(number) % len(WAYS)] for number in there)


def _connections(gateway: Headgate) -> int:
    with Wire(gateway.admin_port) as wire:
        text = wire.request("GET", "/metrics").body.decode()
    (line,) = (one for one in text.splitlines() if one.startswith("headgate_connections "))
    return int(float(line.rpartition(" ")[2]))


def test_tokens_do_not_stay_in_memory_after_their_readers_disconnect(gateway: Headgate) -> None:
    """1,000 tokens: in headers, cookies and queries, of polls and of events."""
    headers = {"Authorization": f"Bearer {WRITER}", "Content-Type": "text/plain"}
    with Wire(gateway.port) as wire:
        assert wire.request("PUT", STREAM, b"text", **headers).status == 201
    for first in range(0, READERS, 100):
        wires = [Wire(gateway.port) for _ in range(100)]
        for number, wire in enumerate(wires, first):
            _read(wire, number)
        if not first:
            there = _left(gateway.pid)
            assert there["events"] + there["poll"] > 0, "the search finds what is there"
        for wire in wires:
            wire.socket.close()
    wait_until(lambda: _connections(gateway) == 0)
    left = _left(gateway.pid)
    assert left["query"] <= OF_TARGETS + REMNANTS, left
    assert all(left[way] <= REMNANTS for way in WAYS if way != "query"), left
