"""The principals of a process, judged again after a change of keys or files."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING

from gateway.turns import LONGEST_TURN_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.access.verifier import Verifier


class Judging:
    """A pass over the principals of all verifiers, a few at once and many in turns.

    `clock` returns epoch seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._verifiers: list[Verifier] = []
        self._remaining: Iterator[None] = iter(())  # each step judges one principal
        self._next_turn: asyncio.Handle | None = None

    def include(self, verifier: Verifier) -> Verifier:
        """Judge the principals of this verifier, too; return it."""
        self._verifiers.append(verifier)
        return verifier

    def restart(self) -> None:
        """Judge all principals from the first one on."""
        now = self._clock()
        self._remaining = chain.from_iterable(it.judging(now) for it in self._verifiers)
        self._go_on()

    def stop(self) -> None:
        """Judge no more principals."""
        if self._next_turn is not None:
            self._next_turn.cancel()

    def _go_on(self) -> None:
        """Judge principals for one turn, and continue in the next pass of the loop."""
        self.stop()
        loop = asyncio.get_running_loop()
        turn_ends = loop.time() + LONGEST_TURN_S
        for _ in self._remaining:
            if loop.time() >= turn_ends:
                self._next_turn = loop.call_soon(self._go_on)
                return
