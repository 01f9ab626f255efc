"""Creations without a task: their order, what they meet at their paths, and what fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.backends.contract import Conflict
from gateway.errors import ConfigurationConflict, HeadgateError, LogUnavailable
from gateway.protocol.lifecycle import Created
from gateway.protocol.requests import Create
from gateway.protocol.streams.state import Lifetime
from gateway.streams import creations
from gateway.streams.creations import Creations
from tests.streams.gated_log import GatedLog, turns
from tests.streams.service import TEXT, Service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.backends.contract import Loaded

MINUTE = Lifetime(ttl_s=60)
Outcome = Created | HeadgateError


class SlowForSome(GatedLog):
    """Tells of some paths late."""

    def __init__(self) -> None:
        super().__init__()
        self.late: dict[str, asyncio.Event] = {}
        self.unreadable: set[str] = set()

    async def load(self, path: str) -> Loaded:
        found = await super().load(path)
        if path in self.late:
            await self.late[path].wait()
        if path in self.unreadable:
            raise LogUnavailable("the log cannot be read now")
        return found


class Asked:
    """Creations on a service, and what was told of each."""

    def __init__(self, log: GatedLog | None = None) -> None:
        self.service = Service(log)
        self.ended: list[str] = []
        self.service.lifecycle._ended = lambda path, _: self.ended.append(path)
        self.creations = Creations(self.service.table, self.service.lifecycle)
        self.told: dict[str, list[Outcome]] = {}

    def ask(self, path: str, *, lifetime: Lifetime = MINUTE, close: bool = False) -> None:
        told = self.told.setdefault(path, [])
        request = Create(b"", TEXT, lifetime, close, None)
        self.creations.submit(path, request, told.append)

    async def outcome(self, path: str, **more: object) -> Outcome:
        self.ask(path, **more)  # type: ignore[arg-type] # as it has them
        await self.creations.idle.wait()
        return self.told[path][-1]

    def new(self, paths: Sequence[str]) -> list[bool]:
        """Whether each was created, of those that came to be."""
        outcomes = [self.told[path][-1] for path in paths]
        return [isinstance(it, Created) and it.new for it in outcomes]


async def test_they_are_decided_in_the_order_in_which_they_came() -> None:
    log = SlowForSome()
    asked = Asked(log)
    log.late["a"] = asyncio.Event()
    for path in ("a", "b", "c"):
        asked.ask(path)
    await turns()
    assert log.committed == []
    log.late["a"].set()
    await asked.creations.idle.wait()
    assert [changes[0].state.path for changes in log.committed] == ["a", "b", "c"]
    assert asked.new(["a", "b", "c"]) == [True] * 3
    assert asked.creations.pending == 0


async def test_a_turn_that_is_over_at_once_takes_one_and_goes_on_in_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(creations, "LONGEST_TURN_S", 0.0)
    log = GatedLog()
    asked = Asked(log)
    paths = [f"s{number}" for number in range(5)]
    for path in paths:
        asked.ask(path)
    await asked.creations.idle.wait()
    assert [[change.state.path for change in changes] for changes in log.committed] == [
        [path] for path in paths
    ]
    assert asked.new(paths) == [True] * 5


async def test_of_several_for_one_path_one_creates_and_the_others_confirm_or_conflict() -> None:
    asked = Asked()
    for close in (False, False, True):
        asked.ask("s", close=close)
    await asked.creations.idle.wait()
    first, second, third = asked.told["s"]
    assert isinstance(first, Created)
    assert first.new
    assert isinstance(second, Created)
    assert (second.new, second.state) == (False, first.state)
    assert isinstance(third, ConfigurationConflict)


async def test_what_is_there_is_confirmed_without_a_look_at_the_log() -> None:
    log = GatedLog()
    asked = Asked(log)
    await asked.outcome("s")
    log.loaded = 0
    again = await asked.outcome("s")
    assert isinstance(again, Created)
    assert (again.new, log.loaded, len(log.committed)) == (False, 0, 1)


async def test_a_stream_whose_time_is_over_makes_way_for_a_new_one() -> None:
    asked = Asked()
    await asked.outcome("s")
    asked.service.clock.advance(61)
    again = await asked.outcome("s")
    assert isinstance(again, Created)
    assert (again.new, again.state.generation) == (True, 1)
    assert asked.ended == ["s", "s"]  # one has ended, one is not the first


async def test_one_that_is_created_and_removed_meanwhile_leaves_its_generation() -> None:
    log = SlowForSome()
    asked = Asked(log)
    log.late["first"] = asyncio.Event()
    asked.ask("first")  # up to which nothing is decided
    asked.ask("s")
    await turns()
    await asked.service.create("s")
    await asked.service.lifecycle.delete("s")
    log.late["first"].set()
    await asked.creations.idle.wait()
    (outcome,) = asked.told["s"]
    assert isinstance(outcome, Created)
    assert (outcome.new, outcome.state.generation) == (True, 1)


async def test_who_is_dropped_from_the_table_meanwhile_is_looked_up_again() -> None:
    log = SlowForSome()
    asked = Asked(log)
    log.late["first"] = asyncio.Event()
    asked.ask("first")
    asked.ask("s")
    await turns()
    del asked.service.table._streams["s"]
    log.late["first"].set()
    await asked.creations.idle.wait()
    assert asked.new(["first", "s"]) == [True, True]
    assert log.loaded == 3


async def test_a_lost_race_is_decided_anew() -> None:
    log = GatedLog()
    asked = Asked(log)
    log.failures.append(Conflict())
    outcome = await asked.outcome("s")
    assert isinstance(outcome, Created)
    assert outcome.new


@pytest.mark.parametrize("failure", [LogUnavailable("full"), RuntimeError("never")])
async def test_what_cannot_be_stored_is_told_and_the_next_goes_on(failure: Exception) -> None:
    log = GatedLog()
    asked = Asked(log)
    log.failures.append(failure)
    assert isinstance(await asked.outcome("s"), LogUnavailable)
    assert isinstance(await asked.outcome("t"), Created)


async def test_who_cannot_be_looked_up_does_not_hold_up_the_others() -> None:
    log = SlowForSome()
    asked = Asked(log)
    log.unreadable.add("a")
    for path in ("a", "b"):
        asked.ask(path)
    await asked.creations.idle.wait()
    assert isinstance(asked.told["a"][0], LogUnavailable)
    assert asked.new(["b"]) == [True]


@pytest.mark.parametrize(
    ("headers", "body", "takes"),
    [
        ({}, b"", True),
        ({"Content-Type": "application/json"}, b"[1]", True),
        ({"Content-Type": "application/json"}, b"[" + b"1," * 200_000 + b"1]", False),
        ({"Content-Type": "text/plain"}, b"1" * 400_000, True),
        ({"Stream-Forked-From": "/v1/stream/s"}, b"", False),
    ],
)
async def test_only_plain_ones_are_taken(headers: dict[str, str], body: bytes, takes: bool) -> None:
    assert Asked().creations.takes(headers, body) is takes
