"""What two tables of an array must not both have."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from gateway.settings import files
from gateway.settings.route import Route
from gateway.settings.tables import Table
from gateway.settings.values import Mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T", bound=Table)


def prefixes(route: Route) -> Sequence[object]:
    """What no other route has."""
    return (route.prefix,)


def places(route: Route) -> Sequence[object]:
    """Where a log lives: a folder that one log locks, keys in Redis; memory is everybody's own."""
    if route.is_redis:
        return route.redis.places
    return (files.place(route.origin),) if route.origin.startswith(files.FILE) else ()


def repeated(
    tables: Sequence[T], key: str, what: Callable[[T], Sequence[object]], of: str = "routes"
) -> Iterator[Mistake]:
    """A mistake for each table that has something which one before it has."""
    first: dict[object, int] = {}
    for index, table in enumerate(tables):
        owners = [first.setdefault(thing, index) for thing in what(table)]
        other = min(owners, default=index)
        if other != index:
            message = f"must not be the {key} of {of}[{other}] too"
            if isinstance(table, Route) and key == "origin" and table.is_redis:
                message += ": they need databases or prefixes apart"
            elif isinstance(table, Route) and key == "origin":
                message += f": both are {files.place(table.origin)}"
            yield Mistake((index, key), "refused", getattr(table, key), message)
