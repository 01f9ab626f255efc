"""A gateway asks the one that delivers once for each name, and again once that is outdated."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.errors import LogUnavailable, OriginBroken
from gateway.features.subscriptions.origins import settled_names
from gateway.features.subscriptions.origins.settled_names import AwaitedNames, SettledNames

if TYPE_CHECKING:
    from collections.abc import Sequence


class Deliverer:
    """The gateway that delivers, whose answers come when a test lets them."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.answers: list[asyncio.Future[AwaitedNames]] = []

    async def ask(self, names: Sequence[str]) -> AwaitedNames:
        """Answer a question."""
        self.asked.append([*names])
        answer: asyncio.Future[AwaitedNames] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        return await answer


async def started(names: SettledNames, *chosen: str) -> list[asyncio.Task[None]]:
    """Return tasks that wait until these names are settled; their questions are sent."""
    tasks = [asyncio.create_task(names.settle(name)) for name in chosen]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_an_answer_is_remembered_until_it_is_forgotten() -> None:
    at = Deliverer()
    names = SettledNames(at.ask)
    (task,) = await started(names, "a")
    assert names.may_be_awaited("a")
    at.answers[0].set_result(AwaitedNames(frozenset()))
    await task
    await names.settle("a")
    assert not names.may_be_awaited("a")
    names.forget(["a"])
    assert names.may_be_awaited("a")
    await started(names, "a")
    assert at.asked == [["a"], ["a"]]
    await names.close()


async def test_an_answer_that_was_outdated_on_its_way_counts_for_those_who_waited_only() -> None:
    at = Deliverer()
    names = SettledNames(at.ask)
    (task,) = await started(names, "a")
    names.forget_all()
    at.answers[0].set_result(AwaitedNames(has_no_subscriptions=True))
    await task
    assert not names.is_settled("a")
    await started(names, "a")
    assert at.asked == [["a"], ["a"]]
    await names.close()


async def test_names_that_wait_while_others_are_asked_for_are_asked_for_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settled_names, "MOST_QUESTIONS", 1)
    at = Deliverer()
    names = SettledNames(at.ask)
    tasks = await started(names, "a", "b", "c", "b")
    assert at.asked == [["a"]]
    at.answers[0].set_result(AwaitedNames(frozenset({"a"})))
    await started(names)
    assert at.asked == [["a"], ["b", "c"]]
    at.answers[1].set_result(AwaitedNames(frozenset({"c"})))
    await asyncio.gather(*tasks)
    assert [names.may_be_awaited(name) for name in "abc"] == [True, False, True]


async def test_a_question_that_fails_fails_for_those_who_waited_and_is_asked_again() -> None:
    at = Deliverer()
    names = SettledNames(at.ask)
    (task,) = await started(names, "a")
    at.answers[0].set_exception(OriginBroken("it answers nonsense"))
    with pytest.raises(LogUnavailable, match="nonsense"):
        await task
    await started(names, "a")
    assert at.asked == [["a"], ["a"]]
    await names.close()


async def test_whoever_waits_when_the_gateway_stops_is_refused() -> None:
    at = Deliverer()
    names = SettledNames(at.ask)
    (task,) = await started(names, "a")
    await names.close()
    with pytest.raises(LogUnavailable, match="stopping"):
        await task


async def test_whoever_waits_for_a_question_that_was_not_asked_yet_is_refused_when_it_stops() -> (
    None
):
    at = Deliverer()
    names = SettledNames(at.ask)
    waiting = asyncio.create_task(names.settle("a"))
    await asyncio.sleep(0)
    assert not at.asked
    await names.close()
    async with asyncio.timeout(5.0):
        with pytest.raises(LogUnavailable, match="stopping"):
            await waiting


async def test_a_name_that_is_refused_alone_is_asked_for_again_and_the_others_are_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settled_names, "MOST_QUESTIONS", 1)
    at = Deliverer()
    names = SettledNames(at.ask)
    first, bad, good = await started(names, "first", "bad", "good")
    at.answers[0].set_result(AwaitedNames())
    await started(names)
    at.answers[1].set_result(AwaitedNames(frozenset({"good"}), refused={"bad": "it is busy"}))
    await asyncio.gather(first, good)
    with pytest.raises(LogUnavailable, match="it is busy"):
        await bad
    assert [names.is_settled(name) for name in ("first", "good", "bad")] == [True, True, False]
    await started(names, "bad")
    assert at.asked == [["first"], ["bad", "good"], ["bad"]]
    await names.close()


async def test_names_are_forgotten_beyond_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled_names, "MOST_NAMES", 2)
    at = Deliverer()
    names = SettledNames(at.ask)
    for number, name in enumerate("abc"):
        (task,) = await started(names, name)
        at.answers[number].set_result(AwaitedNames(frozenset()))
        await task
    assert [names.is_settled(name) for name in "abc"] == [False, False, True]
