"""The question about the greetings of a process, and its answer."""

from __future__ import annotations

import msgspec


class CountGreetings(msgspec.Struct, frozen=True):
    """A question for the number of greetings."""


class GreetingCount(msgspec.Struct, frozen=True):
    """The number of greetings of a process."""

    count: int
