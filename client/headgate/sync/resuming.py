"""The answer to a client that comes back, whatever framework of threads the request is of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.runs.resuming import resumption

if TYPE_CHECKING:
    from headgate.runs.cursors import Fields
    from headgate.sync.answer import Answer
    from headgate.sync.runs import Runs


def resumed(
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
    return runs.follow(run_id, after, only_active=only_active, wait=wait)
