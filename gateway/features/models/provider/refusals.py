"""The rules by which a refused request may be sent again: only if the provider made no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.backoff import wait_s

from gateway.rules.directives import LONGEST_AGAIN_S, again_s

if TYPE_CHECKING:
    from multidict import MultiMapping

# 504 is missing: the server behind the one that gave up may still make the answer.
REPEATABLE = frozenset({429, 500, 502, 503, 529})
# As the providers' own SDKs wait.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0


def may_be_repeated(status: int, headers: MultiMapping[str]) -> bool:
    """Return whether a response is a refusal after which the request may be sent again.

    The provider's `x-should-retry` decides where a refusal has it.
    """
    if status < 400:
        return False
    match headers.get("x-should-retry", "").strip().lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            return status in REPEATABLE


def pause_s(headers: MultiMapping[str] | None, failures: int, chance: float) -> float | None:
    """Return the pause before a request is sent again; None if the provider wants a long one.

    `headers` are those of the refusal, None if no server could be reached; `failures` have been
    before, and `chance` in [0, 1] spreads the callers.
    """
    if headers is not None:
        milliseconds = headers.get("retry-after-ms", "")
        if milliseconds.isascii() and milliseconds.isdigit() and len(milliseconds) < 10:
            wanted: float | None = int(milliseconds) / 1000
        else:
            wanted = again_s(headers)
        if wanted is not None:
            return None if wanted >= LONGEST_AGAIN_S else wanted
    return wait_s(failures, FIRST_PAUSE_S, LONGEST_PAUSE_S, chance)
