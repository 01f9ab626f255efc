"""Find the route of a path."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.errors import StreamNotFound
from headgate_gateway.protocol.http.paths import canonical_target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.feature import Entrance, RouteFeature

# Paths whose routes are remembered: clients request the same few again and again. 3 MB, with the
# longest paths, which log lines may bring, 10.
REMEMBERED = 2048


class RoutedTarget(NamedTuple):
    """A canonical target with its path, its route and the name of its stream.

    With `control`, the name is that of a control path of this feature.
    """

    target: str
    path: str
    route: StreamRoute
    name: str
    control: RouteFeature | None = None


class Router:
    """The routes of a gateway, ordered by length of prefix, the longest first."""

    def __init__(self, routes: Sequence[StreamRoute]) -> None:
        self._routes = sorted(routes, key=lambda route: -len(route.prefix))
        self.prefixes = [route.prefix for route in self._routes if route.has_streams]
        self.place = lru_cache(REMEMBERED)(self.find_place)
        self.prefixes_passed_on = [it.prefix for it in self._routes if not it.has_streams]
        features = (feature for route in self._routes for feature in route.features.values())
        # A path without any of these has no control path.
        self._control_marks = frozenset(f"/{it.control}" for it in features if it.control)

    def __iter__(self) -> Iterator[StreamRoute]:
        return iter(self._routes)

    def find(self, path: str, *, control: bool = False) -> tuple[StreamRoute, str]:
        """Return the route and stream name of a canonical path. Raises StreamNotFound.

        With `control`, it may also be a control path of its route.
        """
        for route in self._routes:
            begin = len(route.prefix)
            if path == route.prefix and route.serves_prefix:
                return route, ""
            if path.startswith(route.prefix) and path[begin : begin + 1] == "/":
                name = path[begin + 1 :]
                if control and route.control(name) is not None:
                    return route, name
                return route, route.checked(name)
        raise StreamNotFound(self._known_paths())

    def find_place(self, raw: str) -> RoutedTarget:
        """Return the routed target of a path as it was sent. Raises HeadgateError."""
        path = canonical_target(raw)
        for mark in self._control_marks:
            if mark in path:
                route, name = self.find(path, control=True)
                return RoutedTarget(path, path, route, name, route.control(name))
        route, name = self.find(path)
        return RoutedTarget(path, path, route, name)

    def entrances(self) -> dict[Entrance, list[str]]:
        """Return the paths at which clients of features connect."""
        found: dict[Entrance, list[str]] = {}
        for route in self._routes:
            for feature in route.features.values():
                if (entrance := feature.entrance) is not None:
                    found.setdefault(entrance, []).append(f"{route.prefix}/{entrance.name}")
        return found

    def _known_paths(self) -> str:
        """Return where streams and features are, for the refusal of another path."""
        places = f"streams are below {_folders(self.prefixes)}"
        for entrance, paths in self.entrances().items():
            places = f"{places}; {entrance.who} connect at {' and '.join(paths)}"
        if not self.prefixes_passed_on:
            return places
        return f"{places}; requests are passed on below {_folders(self.prefixes_passed_on)}"


def _folders(prefixes: Iterable[str]) -> str:
    *others, last = (f"{prefix}/" for prefix in prefixes)
    return f"{', '.join(others)} and {last}" if others else last
