"""Find values that two tables of an array must not share."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from headgate_gateway.settings.reading.tables import Table
from headgate_gateway.settings.reading.values import Mistake
from headgate_gateway.settings.route import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T", bound=Table)


def prefixes(route: Route) -> Sequence[object]:
    """Return the prefix of a route, which no other route may have."""
    return (route.prefix,)


def places(route: Route) -> Sequence[object]:
    """Return where a log keeps its streams: a folder that one log locks, for example."""
    return () if route.log_kind is None else route.log_kind.places(route.storage)


def repeated(
    tables: Sequence[T], key: str, what: Callable[[T], Sequence[object]], of: str = "routes"
) -> Iterator[Mistake]:
    """Yield a mistake for each table that shares a value with an earlier one."""
    first: dict[object, int] = {}
    for index, table in enumerate(tables):
        owners = [first.setdefault(thing, index) for thing in what(table)]
        other = min(owners, default=index)
        if other != index:
            message = f"must not be the {key} of {of}[{other}] too"
            if isinstance(table, Route) and key == "storage" and table.log_kind is not None:
                message += f": {table.log_kind.conflict(table.storage)}"
            yield Mistake((index, key), "refused", getattr(table, key), message)
