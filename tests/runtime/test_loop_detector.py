"""Readers that go in circles are noticed, and nobody else is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from multidict import CIMultiDict
from structlog.testing import capture_logs

from gateway.runtime import loop_detector
from gateway.runtime.loop_detector import (
    LONGEST_SHOWN,
    LOOK_EVERY_S,
    LOOK_S,
    MOST_NOTED,
    OFTEN,
    LoopDetector,
)
from gateway.web.metrics import snapshot
from gateway.web.router import Router
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import (
    EDGE,
    PREFIX,
    edge_serving,
    get,
    offset,
    post,
    put,
    request,
    serving,
)
from tests.support.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from tests.support.raw_origin import Wire
    from tests.support.serving import Serving

Lines = list["MutableMapping[str, object]"]


def look(gateway: Serving) -> None:
    """Begin, to be ended by `found` alone."""
    gateway.server.stop_sweeping()
    gateway.shared.loop_detector.looking = True


def found(gateway: Serving, looked_s: float = LOOK_S) -> Lines:
    """End the look; the log lines of it."""
    with capture_logs() as lines:
        gateway.shared.loop_detector._log_loop(looked_s)
    gateway.shared.loop_detector.looking = False
    return lines


async def repeat(gateway: Serving, asked: bytes, times: int = OFTEN) -> None:
    """Ask the same again and again on one connection."""
    client = await gateway.connect()
    for _ in range(times):
        await client.ask(asked)


# ---------------------------------------------------------------- what is a loop


@pytest.mark.parametrize(
    "asked",
    [
        get("s?offset=-1"),
        get(f"s?offset={offset(3)}"),
        get("s?offset=-1", "If-None-Match: *"),
        get("s?offset=now"),
        get("s?offset=9"),
        get("none?offset=-1"),
        get("closed?offset=now&live=long-poll"),
        request("HEAD", "s"),
    ],
    ids=["hit", "empty", "304", "now", "400", "404", "204", "HEAD"],
)
@pytest.mark.parametrize("times", [OFTEN - 1, OFTEN, OFTEN + 1])
async def test_many_equal_reads_on_one_connection_are_reported_as_a_loop(
    asked: bytes, times: int
) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        await gateway.ask(put("closed", "Stream-Closed: true"))
        look(gateway)
        await repeat(gateway, asked, times)
        lines = found(gateway)
        assert [line["times"] for line in lines] == ([times] if times >= OFTEN else [])
        assert gateway.shared.loop_detector.noticed == len(lines)


async def test_the_loop_line_names_client_path_and_number_of_reads() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        look(gateway)
        client = await gateway.connect()
        for _ in range(7):
            await client.ask(get("s?offset=-1&token=mine"))
        port = client._writer.get_extra_info("sockname")[1]
        assert found(gateway) == [
            {
                "event": "reads.repeated",
                "log_level": "warning",
                "loops": 1,
                "client": "127.0.0.1",
                "port": port,
                "method": "GET",
                "path": f"{PREFIX}/s?offset=-1&token=[redacted]",
                "times": 7,
                "within_s": LOOK_S,
            }
        ]


async def test_reads_whose_cursor_or_headers_change_are_no_loop() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        look(gateway)
        client = await gateway.connect()
        for number in range(OFTEN):
            await client.ask(get(f"s?offset=-1&cursor={number}"))
            await client.ask(get("s?offset=-1", f'If-None-Match: "{number}"'))
            await client.ask(get("s?offset=-1", f"Last-Event-ID: {number}"))
            await client.ask(get("s?offset=-1", f"Range: bytes={number}-"))
        assert found(gateway) == []


async def test_repeated_writes_are_no_loop() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        look(gateway)
        await repeat(gateway, post("s", b"x"))
        await repeat(gateway, put("s"))
        await repeat(gateway, request("DELETE", "none"))
        assert found(gateway) == []


async def test_long_polls_answered_at_once_by_an_origin_are_reported_as_a_loop() -> None:
    async def two_pieces(wire: Wire) -> None:
        await wire.send(
            answer(
                b"ab",
                "Content-Type: text/plain",
                "Stream-Next-Offset: 2",
                "Stream-Up-To-Date: true",
            )
        )

    async with RawOrigin(two_pieces) as origin, edge_serving(origin) as gateway:
        look(gateway)
        await repeat(gateway, get(f"{EDGE}/s?offset=-1&live=long-poll"))
        assert [line["times"] for line in found(gateway)] == [OFTEN]


# ---------------------------------------------------------------- who is a client


async def test_equal_reads_on_two_connections_are_counted_apart() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        look(gateway)
        for _ in range(2):
            await repeat(gateway, get("s?offset=-1"), OFTEN - 1)
        assert found(gateway) == []


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded"])
async def test_equal_reads_of_two_forwarded_clients_on_one_connection_are_counted_apart(
    name: str,
) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        look(gateway)
        proxy = await gateway.connect()
        for _ in range(OFTEN - 1):
            for client in ("10.0.0.1", "10.0.0.2"):
                await proxy.ask(get("s?offset=-1", f"{name}: {client}"))
        assert found(gateway) == []


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded"])
@pytest.mark.parametrize("ending", ["keep-alive", "close"])
async def test_equal_reads_of_one_forwarded_client_on_many_connections_are_counted_together(
    name: str, ending: str
) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        look(gateway)
        for _ in range(OFTEN):
            asked = get("s?offset=-1", f"{name}: 10.0.0.1", "Via: 1.1 x", f"Connection: {ending}")
            await gateway.ask(asked)
        (line,) = found(gateway)
        assert (line["client"], line["forwarded_for"]) == ("127.0.0.1", "10.0.0.1")
        assert line["times"] == OFTEN
        assert "port" not in line


async def test_reads_through_a_proxy_that_names_no_client_are_no_loop() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        look(gateway)
        await repeat(gateway, get("s?offset=-1", "Via: 1.1 x"))
        assert found(gateway) == []


# ---------------------------------------------------------------- bounds


def read(repeated: LoopDetector, target: str, client: str = "10.0.0.1", times: int = 1) -> None:
    headers = CIMultiDict({"X-Forwarded-For": client})
    for _ in range(times):
        repeated.note(None, "GET", target, headers)


@pytest.mark.parametrize(("others", "loops"), [(MOST_NOTED - 1, 1), (MOST_NOTED, 0)])
def test_the_reads_noted_in_one_sample_are_limited(others: int, loops: int) -> None:
    repeated = LoopDetector()
    for number in range(others):
        read(repeated, f"/{number}")
    read(repeated, "/loop", times=OFTEN)
    repeated._log_loop(LOOK_S)
    assert repeated.noticed == loops
    read(repeated, "/loop", times=OFTEN)  # the next look has room again
    repeated._log_loop(LOOK_S)
    assert repeated.noticed == loops + 1


def test_a_read_noted_before_the_sample_was_full_is_still_counted() -> None:
    repeated = LoopDetector()
    read(repeated, "/loop", times=OFTEN - 1)
    for number in range(MOST_NOTED):
        read(repeated, f"/{number}")
    read(repeated, "/loop")
    repeated._log_loop(LOOK_S)
    assert repeated.noticed == 1


@pytest.mark.parametrize(
    ("looked_s", "loops"), [(LOOK_S, 1), (LOOK_S * 1.01, 1), (LOOK_S * 1.2, 0)]
)
def test_a_longer_sample_needs_more_reads_for_a_loop(looked_s: float, loops: int) -> None:
    """The timer of a busy process comes late."""
    repeated = LoopDetector()
    read(repeated, "/loop", times=OFTEN)
    repeated._log_loop(looked_s)
    assert repeated.noticed == loops


def test_several_loops_are_logged_in_one_line_with_shortened_values() -> None:
    repeated = LoopDetector()
    read(repeated, "/a", times=OFTEN)
    read(repeated, "/" + "b" * 1000, client="x" * 1000, times=OFTEN + 1)
    read(repeated, "/c", times=OFTEN)
    with capture_logs() as lines:
        repeated._log_loop(LOOK_S)
    (line,) = lines
    assert (line["loops"], line["times"]) == (3, OFTEN + 1)
    assert line["path"] == "/" + "b" * (LONGEST_SHOWN - 1)
    assert line["forwarded_for"] == "x" * LONGEST_SHOWN
    assert repeated.noticed == 3


# ---------------------------------------------------------------- when is it looked for


def test_the_loop_detector_samples_half_a_second_of_every_ten() -> None:
    repeated = LoopDetector()
    looks = []
    for tick in range(43):
        repeated.turn(tick * LOOK_S)
        if repeated.looking:
            looks.append(tick * LOOK_S)
    assert looks == [LOOK_EVERY_S, 2 * LOOK_EVERY_S + LOOK_S]


async def test_a_running_server_detects_a_client_loop_and_counts_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop_detector, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(loop_detector, "LOOK_S", 0.05)
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        client = await gateway.connect()
        async with asyncio.timeout(PATIENCE_S * 3):
            while not gateway.shared.loop_detector.noticed:
                for _ in range(20):
                    await client.ask(get("s?offset=-1"))
        client.close()
        samples = snapshot(gateway.shared, Router([gateway.route]))
        numbers = {sample.metric.name: sample.number for sample in samples}
        assert numbers["headgate_repeated_reads_total"] >= 1
