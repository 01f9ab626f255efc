"""Thousands who come at once to a cold cache are one reader to the origin."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES
from tests.edge.audience import Tools
from tests.edge.gateways import PREFIX, edge, metric
from tests.support.blocking_origin import BlockingOrigin
from tests.support.examples import IS_WHOLE, cases
from tests.support.http1 import Wire, request
from tests.support.origin_servers import OwnLog, Reference, own_log, reference
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

READERS = 1000 if IS_WHOLE else 250
APPEND_BYTES = 32 << 10
APPENDS = 32


def _content() -> list[bytes]:
    return [(b"%08d " % number) * (APPEND_BYTES // 9) for number in range(APPENDS)]


@pytest.fixture(params=cases(["reference", "headgate"], {"headgate"}, "Headgate, with more chunks"))
def origin(processes: None, request: pytest.FixtureRequest) -> Iterator[Reference | OwnLog]:
    with reference() if request.param == "reference" else own_log() as started:
        yield started


@pytest.mark.timeout(240)  # in `make torture` two gigabytes, which every reader compares
def test_a_cold_read_by_a_thousand_clients_costs_one_origin_request_a_chunk(
    origin: Reference | OwnLog, tmp_path: Path
) -> None:
    tools = Tools(tmp_path)
    content = _content()
    with Wire(origin.port) as writer:
        writer.request("PUT", f"{PREFIX}/big", content_type="text/plain")
        for part in content:
            answer = writer.request("POST", f"{PREFIX}/big", part, content_type="text/plain")
            assert answer.status in {200, 204}
    expected = tools.expect(b"".join(content))
    # The reference answers with all there is, Headgate with a chunk.
    chunks = 1 if isinstance(origin, Reference) else -(-APPENDS * APPEND_BYTES // CHUNK_BYTES)
    before = origin.counts()
    began = time.monotonic()
    with edge(origin.url) as gateway:
        for _ in range(2):  # the second wave finds everything
            with tools.viewers(
                gateway.port, f"{PREFIX}/big", expected, READERS, "catch-up"
            ) as readers:
                assert readers.result()["complete"] == READERS
    asked = origin.counts() - before
    assert asked.reads == asked.catch_up
    # The beginning of a path and the tail of a stream are asked for again after a second each.
    seconds = time.monotonic() - began
    assert chunks <= asked.catch_up <= chunks + 2 * (1 + seconds)


def test_silent_readers_of_one_response_hold_no_copies_of_it() -> None:
    body = b"x" * (1 << 20)
    silent = 200
    with BlockingOrigin() as origin, edge(origin.url) as gateway, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(gateway.port)) for _ in range(silent)]
        for wire in wires:
            wire.send(request("GET", f"{PREFIX}/big"))
        wait_until(lambda: metric(gateway, "headgate_origin_collapsed_total") == silent - 1)
        before = gateway.resident_bytes()
        origin.next().answer(body, "Cache-Control: max-age=600")
        for wire in wires:
            assert wire.socket.recv(1) == b"H"
        assert gateway.resident_bytes() - before < silent * len(body) // 4
