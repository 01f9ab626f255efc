"""Separate commits for logs of tests that do something of their own with each commit."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from headgate_gateway.logs.contract import Log, Settled
    from headgate_gateway.protocol.streams.state import Change


def commit_separately(log: Log, changes: Sequence[Change], settled: Settled) -> None:
    """Commit each change by the log's `commit`."""
    for number, change in enumerate(changes):
        log.commit((change,)).add_done_callback(partial(_settle, settled, number))


def _settle(settled: Settled, number: int, commit: asyncio.Future[None]) -> None:
    error = commit.exception()
    assert error is None or isinstance(error, Exception), "a log raises no BaseException"
    settled(number, (error,))
