"""The answer to a client that comes back, whatever framework the request is of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.runs.cursors import cursor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.runs.answer import Answer
    from headgate.runs.runs import Runs


async def resumed(
    runs: Runs,
    run_id: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    only_active: bool,
    wait: float,
) -> Answer | None:
    """Return what `Runs.follow` gives from the client's cursor on, also when the run has ended.

    `only_active` is for clients without a cursor. Raises ValueError for a cursor or an id that is
    none, and what `Runs.follow` does.
    """
    after = cursor(query, headers)
    return await runs.follow(run_id, after, only_active=only_active and after is None, wait=wait)
