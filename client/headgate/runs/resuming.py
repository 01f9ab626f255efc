"""The resume position in a client's request, independent of the web framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headgate.runs.cursors import cursor

if TYPE_CHECKING:
    from headgate.runs.answer import Answer
    from headgate.runs.cursors import Cursor, Fields
    from headgate.runs.runs import Runs


class Resumption(NamedTuple):
    """Holds what `follow` is asked for."""

    after: int | Cursor | None
    only_active: bool


def resumption(query: Fields, headers: Fields, *, only_active: bool) -> Resumption:
    """Return where the client goes on: from its cursor, also when the run has ended.

    `only_active` is for clients without a cursor. Raises ValueError for a cursor that is none.
    """
    after = cursor(query, headers)
    return Resumption(after, only_active and after is None)


async def resumed(
    runs: Runs,
    run_id: str,
    query: Fields,
    headers: Fields,
    *,
    only_active: bool,
    wait: float,
) -> Answer | None:
    """Return what `Runs.follow` gives for such a client. Raises ValueError, as it does."""
    after, only_active = resumption(query, headers, only_active=only_active)
    return await runs.follow(run_id, after, only_active=only_active, wait=wait)
