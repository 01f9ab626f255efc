"""Searches of a log's paths: all are compared for one result, a slice at a time."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

    PathTest = Callable[[str], bool]

# Seconds of one search, in which a file or a Redis has a million paths compared. A page that takes
# longer looks broken; it says instead how far it came, and goes on from there.
SEARCH_S = 3.0
PATHS_AT_ONCE = 2_000  # of one request to the log: half a millisecond of a Redis


class FoundPaths(NamedTuple):
    """The paths that a search has found, in their order, and how many it has compared.

    The next page of the search begins after the path `after`; None if nothing follows.
    """

    paths: Sequence[str]
    compared: int
    after: str | None


async def search_in_order(
    compare_next: Callable[[str, int, float], Awaitable[FoundPaths]], after: str, limit: int
) -> FoundPaths:
    """Search paths that a log returns in their order, until `limit` are found, for SEARCH_S.

    `compare_next` compares the first paths after one. It gets that path, how many may still be
    found, and when the search ends (perf_counter).
    """
    found: list[str] = []
    compared, ends_at = 0, perf_counter() + SEARCH_S
    while True:
        part = await compare_next(after, limit - len(found), ends_at)
        found += part.paths
        compared += part.compared
        if part.after is None or len(found) == limit or perf_counter() >= ends_at:
            return FoundPaths(found, compared, part.after)
        after = part.after


def compare(
    paths: Sequence[str], fits: PathTest, limit: int, ends_at: float
) -> Generator[None, None, FoundPaths]:
    """Return which of these paths fit, one step for each: a comparison may take milliseconds.

    At least one is compared. Fewer paths than PATHS_AT_ONCE are the last ones.
    """
    found: list[str] = []
    for compared, path in enumerate(paths, 1):
        if fits(path):
            found.append(path)
        is_last = compared == len(paths)
        if is_last or len(found) == limit or perf_counter() >= ends_at:
            is_end = is_last and len(paths) < PATHS_AT_ONCE
            return FoundPaths(found, compared, None if is_end else path)
        yield
    return FoundPaths((), 0, None)
