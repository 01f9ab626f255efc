"""The patience of commands with failures that may pass, and what they say meanwhile."""

from __future__ import annotations

import random
from http import HTTPStatus
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate.retries import Backoff, Retries
from headgate_gateway.tools.shell.failure import is_untrusted
from headgate_gateway.tools.shell.output import note

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate.errors import Unavailable

# How long a producer waits for a server that restarts, and at most between two attempts.
RETRY_FOR_S = 30.0
LIMITED_FOR_S = 60.0  # and how long any append does what a limit of the server asks for
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 4.0


def backoff(longest_s: float = 30.0) -> Backoff:
    """Return the back-off of one command, up to `longest_s` seconds."""
    # Drawn once for a process: clients differ, and the waits of one only grow.
    chance = random.random()  # noqa: S311 - it spreads load, it keeps no secret
    return Backoff(FIRST_WAIT_S, longest_s, lambda: chance)


class CommandRetries(Retries):
    """Waits out what may pass, with a sentence for each retry.

    What is not `is_repeatable` is sent again only if a limit has refused it, so that it was not
    done. A refused certificate is waited for by nobody.
    """

    def __init__(self, say: Callable[[str], None], *, is_repeatable: bool) -> None:
        super().__init__(RETRY_FOR_S, (FIRST_WAIT_S, LONGEST_WAIT_S), say)
        self._is_repeatable = is_repeatable

    @override
    async def wait(self, refusal: Unavailable) -> None:
        is_limited = refusal.status == HTTPStatus.TOO_MANY_REQUESTS
        if is_untrusted(refusal) or not (is_limited or self._is_repeatable):
            raise refusal
        self._time_s = LIMITED_FOR_S if is_limited else RETRY_FOR_S
        await super().wait(refusal)


def tell(sentence: str) -> None:
    """Say what is waited for."""
    note(f"headgate: {sentence}")
