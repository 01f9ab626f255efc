"""Random histories of chats over several replicas, against what the pages promise.

A seed repeats what is asked for, not the moments at which it happens. In each burst some replicas
send, stop, delete or give up at the same time. Then the history is what the newest answer was asked
with, and that answer; no run was begun twice, all readers came to an end, and no run is left of
what was deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from headgate import Closed, Conflict
from headgate.chats import Chats
from headgate.runs import Runs
from tests.client.runs.sources import read
from tests.support.processes import headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from headgate.chats import ChatHistory, Turn

    Message = dict[str, Any]

REPLICAS = 3
CHATS_AT_ONCE = 3
SHORT_BURSTS = 12
PATIENCE_S = 60.0
KINDS = ("fast", "fast", "slow", "slow", "endless", "raises", "nothing", "garbage")


class History:
    """One chat, what was sent to it, and what its answers were asked with."""

    def __init__(self, name: str, replicas: Sequence[Chats], dice: random.Random) -> None:
        self._name = name
        self._replicas = replicas
        self._dice = dice
        self._count = 0
        self._sent: list[Message] = []
        self._turns: list[Turn] = []
        self._given: dict[str, str] = {}  # by run
        self._is_deleted = False
        self.seen: Counter[str] = Counter()

    @property
    def _chats(self) -> Chats:
        return self._dice.choice(self._replicas)

    async def burst(self) -> None:
        """Ask for something at the same time, wait for the end of it, and check what is there."""
        self._is_deleted = False
        tasks = [asyncio.ensure_future(each) for each in self._asked()]
        async with asyncio.timeout(PATIENCE_S):
            while not all(task.done() for task in tasks):
                await asyncio.wait(tasks, timeout=self._dice.choice([0.05, 0.3]))
                await self._chats.stop(self._name)  # what has no end
        self.seen.update(task.result() for task in tasks)
        await until(self._is_quiet)
        page = await self._chats.history(self._name)
        self._check_messages(page.messages)
        assert all(each.status != "active" for each in page.states.values()), page.states
        if self._is_deleted:
            await self._check_deleted(page)
        elif self._turns:
            self._check_newest(page.messages)

    def _asked(self) -> list[Awaitable[str]]:
        """Return what is to be done at once."""
        questions = [each for each in self._sent if each["role"] == "user"][-3:]
        kind = self._dice.choice(["one", "twice", "two", "edit", "anew", "left", "delete", "gone"])
        if kind == "edit" and questions:
            return [self._send(self._message(self._dice.choice(questions)["id"]))]
        if kind == "anew" and questions:
            return [self._send(questions[-1], trigger="regenerate-message")]
        if kind == "delete":
            return [self._delete()]
        if kind == "left":
            return [self._left(self._message())]
        message = self._message()
        asked = [self._send(message)]
        if kind == "twice":
            asked += [self._send(message) for _ in range(1, REPLICAS)]
        elif kind == "two":
            asked += [self._send(self._message())]
        return [*asked, self._delete() if kind == "gone" else self._resume()]

    def _message(self, id_: str = "") -> Message:
        self._count += 1
        text = f"{self._dice.choice(KINDS)} {self._count}"
        parts = [{"type": "text", "text": text}]
        return {"id": id_ or f"question-{self._count}", "role": "user", "parts": parts}

    async def _send(self, message: Message, **about: Any) -> str:
        self._sent.append(message)
        try:
            body = await read(await self._chats.send(self._name, message, self._answer, **about))
        except (Conflict, Closed) as refused:
            return type(refused).__name__
        assert body.endswith(b"data: [DONE]\n\n"), body
        return "answered"

    async def _left(self, message: Message) -> str:
        """Send it, and give up soon."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._dice.choice([0.001, 0.003, 0.01])):
                return await self._send(message)
        return "left"

    async def _resume(self) -> str:
        answer = await self._chats.resume(self._name, wait=0.1)
        if answer is not None:
            assert (await read(answer)).endswith(b"data: [DONE]\n\n")
        return "resumed"

    async def _delete(self) -> str:
        await asyncio.sleep(self._dice.choice([0, 0.003, 0.02]))
        self._is_deleted = True
        await self._chats.delete(self._name)
        return "deleted"

    async def _answer(self, turn: Turn) -> AsyncIterator[object]:
        assert turn.run_id not in self._given, "a run was begun twice"
        self._turns.append(turn)
        self._given[turn.run_id] = ""
        kind = turn.messages[-1]["parts"][0]["text"].split()[0]
        for number in range({"nothing": 0, "slow": 4}.get(kind, 2)):
            given = f"[{turn.run_id}:{number}]"
            self._given[turn.run_id] += given
            yield given
            await asyncio.sleep(0.03 if kind == "slow" else 0)
        if kind == "raises":
            raise ValueError(kind)
        if kind == "garbage":
            yield {"type": kind}
        if kind == "endless":
            await asyncio.Event().wait()

    async def _is_quiet(self) -> bool:
        state = await self._chats.state(self._name)
        return state is None or state.status != "active"

    def _check_messages(self, messages: list[Message]) -> None:
        """Each is one that was sent or given, and none is there twice."""
        ids = [each["id"] for each in messages]
        assert len(set(ids)) == len(ids), ids
        for message in messages:
            if message["role"] == "user":
                assert message in self._sent, message
            else:
                said = "".join(part.get("text", "") for part in message["parts"])
                assert self._given[message["id"]].startswith(said), message

    def _check_newest(self, messages: list[Message]) -> None:
        """The newest answer was asked with all that is before it."""
        newest = self._turns[-1]
        ids = [each["id"] for each in messages]
        asked = newest.messages[-1]["id"]
        if asked not in ids or messages[: ids.index(asked) + 1] != newest.messages:
            # Of what was given up, a question without an answer may have come since.
            left = [each["id"] for each in messages if each["id"] not in self._given]
            assert self.seen["left"], f"{messages} is not {newest.messages}, and has {left}"
        for before in newest.messages[:-1]:
            assert before in self._sent or before["id"] in self._given, before

    async def _check_deleted(self, page: ChatHistory) -> None:
        """Of the runs that were begun, none is left but those of the chat that is there now."""
        kept = {each.run_id for each in page.states.values()}
        for run in self._given.keys() - kept:
            place = self._chats.runs._place(run)
            for stream in (place.items, place.lease, place.stop):
                assert await stream.find() is None, f"{stream.url} of {page.messages}"
        self._turns.clear()


async def play(seed: int, *, for_s: float = 0.0, bursts: int = 0) -> Counter[str]:
    """Play for so long, or so many bursts of each of some chats; count what came of it."""
    dice, seen = random.Random(seed), Counter[str]()
    ends_at = time.monotonic() + for_s
    async with contextlib.AsyncExitStack() as stack:
        url = f"{stack.enter_context(headgate()).streams}/histories"
        runs = [Runs(url, orphan_after=1) for _ in range(REPLICAS)]
        replicas = [Chats(await stack.enter_async_context(it), busy_after=0.2) for it in runs]

        async def live(number: int) -> None:
            played = 0
            while played < bursts or time.monotonic() < ends_at:
                history = History(f"chat-{number}-{played}", replicas, dice)
                for _ in range(12):
                    await history.burst()
                played += 12
                seen.update(history.seen)

        await asyncio.gather(*map(live, range(CHATS_AT_ONCE)))
    return seen
