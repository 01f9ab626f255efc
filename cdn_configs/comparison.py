"""The comparison of targets: a row for each, in a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdn_configs.rules import RULES

if TYPE_CHECKING:
    from cdn_configs.target import Ability, Target

HEAD = (
    "equal long-polls",
    "equal SSE reads",
    "longest long-poll",
    "readers with credentials",
    "purges",
    "state",
)


def compared(target: Target) -> tuple[str, ...]:
    """Return the cells of a target's row, in the order of `HEAD`."""

    def able(ability: Ability, yes: str, no: str) -> str:
        return yes if ability in target.abilities else no

    poll = "any" if target.longest_poll_s is None else f"{target.longest_poll_s} s"
    return (
        able("collapses", "one request", "passed on"),
        able("collapses-sse", f"one for {RULES.sse_join_s} s of arrivals", "passed on"),
        poll,
        ", ".join(target.credentials),
        able("purges", "yes", "no"),
        target.state,
    )
