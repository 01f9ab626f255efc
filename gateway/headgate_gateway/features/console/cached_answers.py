"""Answers to pages that stay open: those that are costly are cached for longer."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

T = TypeVar("T")

# An answer is cached for so many times as long as it took: a page that stays open, and asks every
# 2 s, takes a twentieth of a core at most.
REST = 20
MOST_ANSWERS = 8  # few people look at once


class CachedAnswers(Generic[T]):
    """The latest answers by their questions, at most MOST_ANSWERS."""

    def __init__(self) -> None:
        self._answers: dict[Hashable, tuple[T, float]] = {}  # until when (perf_counter)

    async def get(self, question: Hashable, answer: Callable[[], Awaitable[T]]) -> T:
        """Return the cached answer to a question, or have it made by `answer`."""
        began = perf_counter()
        self._answers = {it: one for it, one in self._answers.items() if began < one[1]}
        if question in self._answers:
            return self._answers[question][0]
        made = await answer()
        ended = perf_counter()
        if len(self._answers) >= MOST_ANSWERS:
            del self._answers[next(iter(self._answers))]
        self._answers[question] = made, ended + REST * (ended - began)
        return made
