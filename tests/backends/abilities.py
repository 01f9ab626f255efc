"""The abilities of a log that a test needs; a log that lacks one fails the test at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.backends.contract import Counts, Listing, Log, Sharing, Upkeep


def sharing(log: Log) -> Sharing:
    assert log.sharing is not None, f"{log!r} is not shared"
    return log.sharing


def listing(log: Log) -> Listing:
    assert log.listing is not None, f"{log!r} cannot list its streams"
    return log.listing


def counts(log: Log) -> Counts:
    assert log.counts is not None, f"{log!r} does not count"
    return log.counts


def upkeep(log: Log) -> Upkeep:
    assert log.upkeep is not None, f"{log!r} has no files"
    return log.upkeep
