"""Connections to an origin that may send more than its answers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.origin import reuse
from headgate_gateway.origin.connection import OriginConnection
from headgate_gateway.origin.reuse import MOST_COPIES, PROOFS, ConnectionHistory, ServerConnections
from tests.origin.opening import ask, opened, send
from tests.support.log_lines import capture_logs
from tests.support.raw_origin import RawOrigin, Steps, answer
from tests.support.surplus_origin import HEADS, SURPLUS
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate_gateway.origin.client import Origin
    from tests.support.raw_origin import Play, Wire

WHOLE = answer(b"whole")


async def as_asked(wire: Wire) -> None:
    """Answer HEAD, POST and DELETE without a body, and GET with one."""
    kinds = {"HEAD": "HEAD", "POST": "204", "DELETE": "304"}
    await wire.body()
    await wire.send(HEADS[kinds[wire.heard.method]] if wire.heard.method in kinds else WHOLE)


@asynccontextmanager
async def serving(*scripts: bytes | Play) -> AsyncIterator[tuple[RawOrigin, Origin]]:
    async with RawOrigin(*scripts) as server, opened(server) as origin:
        yield server, origin


def conduct(origin: Origin) -> ServerConnections[OriginConnection]:
    (endpoint,) = origin.pool.by_server.values()
    return endpoint


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE"])
async def test_a_connection_rests_after_a_bodiless_response_while_others_are_used(
    method: str,
) -> None:
    async with serving(as_asked) as (server, origin):
        await ask(origin, method)
        assert conduct(origin).resting == 1
        for _ in range(2):
            assert (await ask(origin)).body == b"whole"
        await until(lambda: conduct(origin).resting == 0)
        assert [heard.connection for heard in server.heard] == [1, 2, 2]
        assert server.closed == 0


@pytest.mark.parametrize("kind", ["204 with a length", "204 in chunks"])
async def test_a_204_that_announces_a_body_closes_its_connection(kind: str) -> None:
    async with serving(HEADS[kind]) as (server, origin):
        assert (await ask(origin, "POST")).status == 204
        await until(lambda: server.closed == 1)
        assert conduct(origin).resting == 0


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE"])
async def test_a_server_without_surplus_bytes_is_trusted_after_responses_of_this_kind(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr("headgate_gateway.origin.reuse.SILENCE_S", 0.001)
    async with serving(as_asked) as (server, origin):
        for _ in range(PROOFS):
            await ask(origin, method)
            await until(lambda: conduct(origin).resting == 0)
        server.heard.clear()
        for _ in range(3):
            await ask(origin, method)
            assert conduct(origin).resting == 0
        assert len({heard.connection for heard in server.heard}) == 1
        monkeypatch.setattr(
            "headgate_gateway.origin.reuse.SILENCE_S", 60.0
        )  # so it rests when looked at
        await ask(origin, "POST" if method == "HEAD" else "HEAD")
        assert conduct(origin).resting == 1


@pytest.mark.parametrize(("method", "kind"), [("HEAD", "HEAD"), ("POST", "204"), ("GET", "304")])
async def test_a_body_sent_with_a_bodiless_response_is_dropped_and_marks_the_server(
    method: str, kind: str
) -> None:
    async with serving(HEADS[kind] + SURPLUS, HEADS[kind]) as (server, origin):
        for _ in range(2):
            got = await ask(origin, method)
            assert (got.status, got.body) == (int(kind) if kind != "HEAD" else 200, b"")
        await until(lambda: server.closed == 2)
        assert conduct(origin).closes
        assert not conduct(origin).closes_all


@pytest.mark.parametrize("split", [1, 9, 20, len(HEADS["304"]) - 2, len(HEADS["304"])])
async def test_a_bodiless_response_in_two_packets_is_parsed_to_its_end(split: int) -> None:
    steps = Steps(HEADS["304"][:split], HEADS["304"][split:] + SURPLUS)
    async with serving(steps) as (_, origin):
        steps.go()
        assert (await send(origin, "HEAD")).status == 304


async def test_bytes_behind_a_whole_answer_close_every_connection_after_use() -> None:
    steps = Steps(WHOLE, SURPLUS)
    async with serving(steps, WHOLE) as (server, origin):
        with capture_logs() as lines:
            await ask(origin)
            steps.go()
            await until(lambda: conduct(origin).closes_all)
        for _ in range(2):
            assert (await ask(origin)).body == b"whole"
        await until(lambda: server.closed == 3)
        assert [line for line in lines if line["event"] == "origin.surplus"] == [
            {
                "event": "origin.surplus",
                "log_level": "warning",
                "server": f"localhost:{server.port}",
                "behind": "whole",
                "dropped": "0",
                "times": 1,
            }
        ]
        assert origin.figures.surpluses == {"head": 0, "204": 0, "304": 0, "whole": 1}


async def test_a_408_on_an_idle_connection_does_not_mark_the_server() -> None:
    steps = Steps(WHOLE, answer(b"", status="408 Request Timeout"))
    async with serving(steps, WHOLE) as (server, origin):
        await ask(origin)
        steps.go()
        await until(lambda: server.closed == 1)
        assert not conduct(origin).closes
        assert not any(origin.figures.surpluses.values())


async def test_surplus_bytes_drop_responses_of_their_connection_including_late_ones() -> None:
    dropped: list[int] = []
    spoilt = Steps(WHOLE, SURPLUS)
    async with serving(WHOLE, spoilt, WHOLE) as (_, origin):
        histories = []
        for number in range(2):
            got = await send(origin)
            assert got.history is not None
            assert got.history.note(number, partial(dropped.append, number))
            histories.append(got.history)
            await got.read(99)
        spoilt.go()
        await until(lambda: any(origin.figures.surpluses.values()))
        assert dropped == [0, 1]
        assert origin.figures.distrusted == 2
        assert not histories[0].note(2, partial(dropped.append, 2))
        assert dropped == [0, 1]


async def test_a_slow_response_begins_a_new_connection_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headgate_gateway.origin.connection.SILENCE_S", 0.0)
    async with serving(as_asked) as (_, origin):
        first, second = await send(origin), await send(origin)
        assert first.history is not second.history


async def test_a_connection_in_long_use_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuse, "LONGEST_UNKNOWN_S", 0.0)
    async with serving(as_asked) as (_, origin):
        await ask(origin)
        assert conduct(origin).resting == 1


@pytest.mark.parametrize("is_more", [False, True])
def test_a_connection_rests_after_a_bounded_number_of_history_entries(is_more: bool) -> None:
    history = ConnectionHistory()
    for number in range(MOST_COPIES - 1 + is_more):
        history.note(number, lambda: None)
    assert (history.over_at == 0.0) == is_more


def test_a_drop_that_raises_does_not_prevent_the_others() -> None:
    history = ConnectionHistory()
    dropped: list[int] = []
    for number in range(3):
        history.note(number, partial(dropped.append, number))
    history.note(1, partial(dropped.index, 7))
    with pytest.raises(ValueError, match="not in list"):
        history.spoil()
    assert sorted(dropped) == [0, 2]


async def test_the_number_of_resting_connections_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reuse, "MOST_RESTING", 2)
    # A busy machine takes longer for three answers than a rest takes.
    monkeypatch.setattr("headgate_gateway.origin.reuse.SILENCE_S", 60.0)
    async with serving(as_asked) as (server, origin):
        for _ in range(3):
            await ask(origin, "HEAD")
        assert conduct(origin).resting == 2
        await until(lambda: server.closed == 1)


async def test_a_connection_with_unread_bytes_is_not_reused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(WHOLE) as (server, origin):
        await ask(origin)
        monkeypatch.setattr("headgate_gateway.origin.reuse.SILENCE_S", 0.0)
        monkeypatch.setattr(OriginConnection, "has_unread", True)
        assert (await ask(origin)).body == b"whole"
        assert server.heard[0].connection != server.heard[1].connection
        monkeypatch.undo()
