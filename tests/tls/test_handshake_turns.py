"""Handshakes that wait for their turn, pass by pass of the event loop."""

from __future__ import annotations

import asyncio
from collections import Counter

from headgate_gateway.tls.handshakes import AT_ONCE, HandshakeTurns


class Passes:
    """Counts the passes of the loop."""

    def __init__(self) -> None:
        self.number = 0
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_soon(self._count)

    def _count(self) -> None:
        self.number += 1
        self._next = self._loop.call_soon(self._count)

    def stop(self) -> None:
        """Let the loop rest."""
        self._next.cancel()


async def passes_of(turns: HandshakeTurns, number: int) -> list[int]:
    """Return the pass of the loop in which each of so many handshakes begins, in their order."""
    passes, begun = Passes(), list[tuple[int, int]]()

    async def begin(index: int) -> None:
        await turns.wait()
        begun.append((index, passes.number))

    await asyncio.gather(*(begin(index) for index in range(number)))
    passes.stop()
    assert [index for index, _ in begun] == list(range(number))
    return [at for _, at in begun]


async def test_no_more_than_a_few_handshakes_begin_in_one_pass_and_in_their_order() -> None:
    counts = Counter(await passes_of(HandshakeTurns(), 5 * AT_ONCE + 1))
    assert [counts[at] for at in sorted(counts)] == [AT_ONCE] * 5 + [1]


async def test_a_handshake_that_is_given_up_takes_no_turn() -> None:
    turns = HandshakeTurns()
    gone = [asyncio.create_task(turns.wait()) for _ in range(3 * AT_ONCE)]
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    assert len(set(await passes_of(turns, AT_ONCE))) == 1
    assert all(task.cancelled() for task in gone)
