"""Creations without a task: their order, what they meet at their paths, and what fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import pytest

from headgate_gateway.errors import (
    ConfigurationConflict,
    HeadgateError,
    LimitReached,
    LogUnavailable,
    StreamNotFound,
)
from headgate_gateway.logs.contract import Conflict
from headgate_gateway.protocol.lifecycle import CreationOutcome
from headgate_gateway.protocol.requests import CreateRequest
from headgate_gateway.protocol.streams.state import Lifetime
from headgate_gateway.streams import writes
from headgate_gateway.streams.lifecycle import MAX_RACES
from headgate_gateway.streams.outcomes import SubmittedCreation
from headgate_gateway.streams.writes import MAX_CONFLICTS
from tests.streams.service import TEXT, Service
from tests.support.gated_log import GatedLog, turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.logs.contract import LoadedStream

MINUTE = Lifetime(ttl_s=60)
MOST = 10  # bytes of bodies that wait
Outcome = CreationOutcome | HeadgateError


class SlowForSome(GatedLog):
    """Tells of some paths late."""

    def __init__(self) -> None:
        super().__init__()
        self.late: dict[str, asyncio.Event] = {}
        self.unreadable: set[str] = set()

    async def load(self, path: str) -> LoadedStream:
        found = await super().load(path)
        if path in self.late:
            await self.late[path].wait()
        if path in self.unreadable:
            raise LogUnavailable("the log cannot be read now")
        return found


class Asked:
    """Creations on a service, and what was told of each."""

    def __init__(self, log: GatedLog | None = None) -> None:
        self.log = log or GatedLog()
        self.service = Service(self.log, max_pending_bytes=MOST)
        self.writes = self.service.writes
        self.ended: list[str] = []
        self.service.table.removal_observers.append(lambda path, *_: self.ended.append(path))
        self.told: dict[str, list[Outcome]] = {}

    def ask(
        self, path: str, *, lifetime: Lifetime = MINUTE, close: bool = False, body: bytes = b""
    ) -> None:
        told = self.told.setdefault(path, [])
        request = CreateRequest(body, TEXT, lifetime, close, None)
        self.writes.submit(path, SubmittedCreation(request, body, told.append, 0.0))

    async def outcome(self, path: str, **more: object) -> Outcome:
        self.ask(path, **more)  # type: ignore[arg-type] # as it has them
        await self.writes.outcomes.idle.wait()
        return self.told[path][-1]

    async def answer(self, path: str) -> CreationOutcome:
        """What whoever awaits a creation gets."""
        return await self.writes.create(path, CreateRequest(b"", TEXT, MINUTE, False, None))

    def new(self, paths: Sequence[str]) -> list[bool]:
        """Whether each was created, of those that came to be."""
        outcomes = [self.told[path][-1] for path in paths]
        return [isinstance(it, CreationOutcome) and it.new for it in outcomes]


async def test_creations_are_committed_in_the_order_of_their_requests() -> None:
    asked = Asked()
    for path in ("a", "b", "c"):
        asked.ask(path)
    await asked.writes.outcomes.idle.wait()
    assert [changes[0].state.path for changes in asked.log.committed] == ["a", "b", "c"]
    assert asked.new(["a", "b", "c"]) == [True] * 3
    assert asked.writes.outcomes.pending == 0


async def test_a_creation_whose_path_is_looked_up_late_does_not_delay_the_others() -> None:
    log = SlowForSome()
    asked = Asked(log)
    log.late["a"] = asyncio.Event()
    asked.ask("a")
    assert (await asked.answer("b")).new
    log.late["a"].set()
    await asked.writes.outcomes.idle.wait()
    assert asked.new(["a"]) == [True]


async def test_creations_are_committed_one_by_one_if_each_turn_is_over_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writes, "LONGEST_TURN_S", 0.0)
    asked = Asked()
    paths = [f"s{number}" for number in range(5)]
    for path in paths:
        asked.ask(path)
    await asked.writes.outcomes.idle.wait()
    assert [[change.state.path for change in changes] for changes in asked.log.committed] == [
        [path] for path in paths
    ]
    assert asked.new(paths) == [True] * 5


async def test_simultaneous_creations_of_one_path_create_once_and_confirm_or_conflict() -> None:
    asked = Asked()
    for close in (False, False, True):
        asked.ask("s", close=close)
    await asked.writes.outcomes.idle.wait()
    first, second, third = asked.told["s"]
    assert isinstance(first, CreationOutcome)
    assert first.new
    assert isinstance(second, CreationOutcome)
    assert (second.new, second.state) == (False, first.state)
    assert isinstance(third, ConfigurationConflict)


async def test_a_creation_of_a_loaded_stream_is_confirmed_without_a_query_of_the_log() -> None:
    asked = Asked()
    await asked.outcome("s")
    asked.log.loaded = 0
    again = await asked.outcome("s")
    assert isinstance(again, CreationOutcome)
    assert (again.new, asked.log.loaded, len(asked.log.committed)) == (False, 0, 1)


async def test_a_creation_replaces_an_expired_stream() -> None:
    asked = Asked()
    await asked.outcome("s", body=b"old")
    asked.service.clock.advance(60)
    with pytest.raises(StreamNotFound):
        await asked.service.present("s")
    again = await asked.outcome("s", body=b"new")
    assert isinstance(again, CreationOutcome)
    assert (again.new, again.state.generation) == (True, 1)
    assert asked.ended == ["s", "s"]  # one has ended, one is not the first
    assert await asked.service.data("s") == b"new"


async def test_appends_and_creations_of_a_path_are_decided_in_their_order() -> None:
    asked = Asked()
    before = asked.service.submit("s", b"x")
    asked.ask("s", body=b"1")
    between = [asked.service.submit("s", b"2"), asked.service.submit("s", b"3")]
    asked.ask("s", close=True)
    behind = asked.service.submit("s", b"4")
    assert isinstance(await before, StreamNotFound)
    assert [getattr(await it, "stored", None) for it in (*between, behind)] == [1, 1, 1]
    first, second = asked.told["s"]
    assert isinstance(first, CreationOutcome)
    assert isinstance(second, ConfigurationConflict)
    assert await asked.service.data("s") == b"1234"
    assert (asked.log.loaded, asked.writes.outcomes.pending) == (1, 0)


@pytest.mark.parametrize("lost", [1, MAX_CONFLICTS, MAX_CONFLICTS + 1])
async def test_a_creation_that_lost_a_race_is_decided_again_but_not_for_ever(lost: int) -> None:
    asked = Asked()
    asked.log.failures.extend(Conflict() for _ in range(lost))
    outcome = await asked.outcome("s")
    assert isinstance(outcome, LogUnavailable if lost > MAX_CONFLICTS else CreationOutcome)


async def test_an_expired_stream_that_cannot_be_removed_refuses_a_creation_after_a_few_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Asked()
    await asked.outcome("s")
    asked.service.clock.advance(61)
    attempts = []

    async def lost(path: str, _: object) -> bool:
        attempts.append(path)
        return False

    monkeypatch.setattr(asked.service.lifecycle, "expire", lost)
    assert isinstance(await asked.outcome("s"), LogUnavailable)
    assert len(attempts) == MAX_RACES


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(LogUnavailable("full"), id="a-full-log"),
        pytest.param(RuntimeError("never"), id="an-unexpected-exception"),
    ],
)
async def test_a_creation_that_cannot_be_stored_fails_alone(failure: Exception) -> None:
    asked = Asked()
    asked.log.failures.append(failure)
    assert isinstance(await asked.outcome("s"), LogUnavailable)
    assert isinstance(await asked.outcome("t"), CreationOutcome)


async def test_a_creation_that_cannot_be_loaded_does_not_delay_the_others() -> None:
    log = SlowForSome()
    asked = Asked(log)
    log.unreadable.add("a")
    for path in ("a", "b"):
        asked.ask(path)
    await asked.writes.outcomes.idle.wait()
    assert isinstance(asked.told["a"][0], LogUnavailable)
    assert asked.new(["b"]) == [True]


async def test_the_bodies_of_waiting_creations_are_bounded() -> None:
    asked = Asked()
    asked.log.commits.clear()
    for path in ("a", "b", "c"):
        asked.ask(path, body=b"12345")
    await turns()
    assert isinstance(asked.told["c"][0], LimitReached)
    outcomes = asked.writes.outcomes
    assert (outcomes.pending_bytes, outcomes.pending) == (10, 2)
    asked.log.commits.set()
    await asked.writes.outcomes.idle.wait()
    assert asked.new(["a", "b"]) == [True, True]
    assert outcomes.pending_bytes == 0
    assert isinstance(await asked.outcome("c", body=b"12345"), CreationOutcome)


async def test_whoever_cannot_be_answered_is_abandoned_and_the_others_are_answered() -> None:
    class Failing:
        is_creation: ClassVar = True
        came = 0.0
        request = CreateRequest(b"", TEXT, MINUTE, close=False, fork=None)
        body = b""
        is_abandoned = False

        def answered(self, outcome: Outcome, /) -> None:
            raise ZeroDivisionError(outcome)

        def abandon(self) -> None:
            self.is_abandoned = True

    asked, failing = Asked(), Failing()
    asked.writes.submit("s", failing)
    assert isinstance(await asked.outcome("t"), CreationOutcome)
    assert failing.is_abandoned
