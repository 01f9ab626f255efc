"""The names of streams of which the gateway that delivers has said whether anybody waits for them.

It stores the links to a stream before the first write to that is passed on, whichever gateway gets
the write. So a gateway asks it once for each name, and again when subscriptions have changed.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from gateway.errors import HeadgateError, LogUnavailable
from gateway.later import Later, turn
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

MOST_NAMES = 100_000  # about 150 bytes each; beyond it, all are asked for again
AT_ONCE = 100  # names in one question, which waits for a HEAD of each that is linked
MOST_QUESTIONS = 8  # under way: in a burst, other names gather meanwhile for one question

STOPPING = "the gateway is stopping"
Reasons: TypeAlias = dict[str, str]  # why some names are refused, by name


class AwaitedNames(msgspec.Struct, frozen=True):
    """The answer to a question: those of the names that subscriptions wait for.

    Without any subscription, `has_no_subscriptions`: no other name has to be asked for either.
    Some may be `refused`, each for a reason: it is not known, or not stored, who waits for them.
    """

    awaited: frozenset[str] = frozenset()
    has_no_subscriptions: bool = False
    refused: Reasons = {}


encode_names = encode_answer = msgspec.json.Encoder().encode
decode_names = msgspec.json.Decoder(list[str]).decode
decode_answer = msgspec.json.Decoder(AwaitedNames).decode


class SettledNames:
    """The names that one gateway has asked for. `ask` may raise HeadgateError."""

    def __init__(self, ask: Callable[[Sequence[str]], Awaitable[AwaitedNames]]) -> None:
        self._ask = ask
        self._awaited: dict[str, bool] = {}
        self._has_no_subscriptions = False
        self._age = 0  # grows with each change of subscriptions
        self._waiting: dict[str, Later[None]] = {}
        self._questions: set[asyncio.Task[Reasons]] = set()

    def may_be_awaited(self, name: str) -> bool:
        """Return whether a subscription waits for a stream, or may: its name was not asked for."""
        return self._awaited.get(name, not self._has_no_subscriptions)

    def is_settled(self, name: str) -> bool:
        """Return whether a name was asked for, or needs not be."""
        return self._has_no_subscriptions or name in self._awaited

    def forget(self, names: Iterable[str]) -> None:
        """Ask for some names again: their streams were removed, and links with them."""
        self._age += 1
        for name in names:
            self._awaited.pop(name, None)

    def forget_all(self) -> None:
        """Ask for all names again, also for those that are being asked for."""
        self._age += 1
        self._awaited.clear()
        self._has_no_subscriptions = False

    async def settle(self, name: str) -> None:
        """Have the links to a stream stored that subscriptions wait for. Raises LogUnavailable."""
        if self.is_settled(name):
            return
        waiting = self._waiting.get(name)
        if waiting is None:
            waiting = self._waiting[name] = Later()
            self._ask_more()
        await waiting

    def _ask_more(self) -> None:
        if self._waiting and len(self._questions) < MOST_QUESTIONS:
            names = list(self._waiting)[:AT_ONCE]
            batch = {name: self._waiting.pop(name) for name in names}
            task = asyncio.get_running_loop().create_task(self._ask_for(names))
            self._questions.add(task)
            task.add_done_callback(partial(self._end, batch))

    def _end(self, batch: Mapping[str, Later[None]], task: asyncio.Task[Reasons]) -> None:
        """Let those go on who wait for a question, also if it was cancelled before it began."""
        self._questions.discard(task)
        _release(batch, dict.fromkeys(batch, STOPPING) if task.cancelled() else task.result())
        self._ask_more()

    async def _ask_for(self, names: Sequence[str]) -> Reasons:
        """Ask for some names; return why some of them are refused."""
        age = self._age
        try:
            answer = await self._ask(names)
        except HeadgateError as error:
            return dict.fromkeys(names, error.detail)
        except Exception:  # noqa: BLE001 - the waiting writes get the error
            log.exception("subscription.not_stored")
            return dict.fromkeys(names, "it could not be asked who waits for the stream")
        if age == self._age:
            self._take([name for name in names if name not in answer.refused], answer)
        return answer.refused

    def _take(self, names: Iterable[str], answer: AwaitedNames) -> None:
        if len(self._awaited) >= MOST_NAMES:
            self._awaited.clear()
        self._has_no_subscriptions = answer.has_no_subscriptions
        if not answer.has_no_subscriptions:
            self._awaited |= {name: name in answer.awaited for name in names}

    async def close(self) -> None:
        """Give up what is being asked for."""
        waiting, self._waiting = self._waiting, {}
        _release(waiting, dict.fromkeys(waiting, STOPPING))
        for task in self._questions:
            task.cancel()
        await asyncio.gather(*self._questions, return_exceptions=True)


def _release(waiting: Mapping[str, Later[None]], refused: Reasons) -> None:
    """Let those go on who wait for names, or refuse them."""
    with turn:
        for name, one in waiting.items():
            if name in refused:
                one.set_exception(LogUnavailable(refused[name]))
            else:
                one.set_result(None)
