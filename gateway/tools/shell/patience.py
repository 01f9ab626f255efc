"""The patience of commands with failures that may pass, and what they say meanwhile."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from headgate.backoff import Backoff
from headgate.retries import Retries

from gateway.tools.shell.failure import is_untrusted
from gateway.tools.shell.output import note

if TYPE_CHECKING:
    from collections.abc import Callable

# How long a producer waits for a server that restarts, and at most between two attempts.
RETRY_FOR_S = 30.0
LIMITED_FOR_S = 60.0  # and how long any append does what a limit of the server asks for
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 4.0


def backoff(longest_s: float = 30.0) -> Backoff:
    """Return the back-off of one command, up to `longest_s` seconds."""
    # Drawn once for a process: clients differ, and the waits of one only grow.
    chance = random.random()  # noqa: S311 - it spreads load, it keeps no secret
    return Backoff(FIRST_WAIT_S, longest_s, lambda: chance)


def retries(say: Callable[[str], None], *, is_repeatable: bool) -> Retries:
    """Return how long appends are sent again: if they are repeatable, also after a cut.

    What a limit has refused was not done, so it is sent again in any case.
    """
    time_s = RETRY_FOR_S if is_repeatable else 0.0
    return Retries(time_s, backoff(LONGEST_WAIT_S), say, LIMITED_FOR_S, gives_up=is_untrusted)


def tell(sentence: str) -> None:
    """Say what is waited for."""
    note(f"headgate: {sentence}")
