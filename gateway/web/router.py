"""Find the route of a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import StreamNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.runtime.route import StreamRoute


class Router:
    """The routes of a gateway, ordered by length of prefix, the longest first."""

    def __init__(self, routes: Sequence[StreamRoute]) -> None:
        self._routes = sorted(routes, key=lambda route: -len(route.prefix))
        self._prefixes = [f"{route.prefix}/" for route in self._routes]

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
                return route, route.addressed(name) if control else route.checked(name)
        raise StreamNotFound(f"streams are below {' and '.join(self._prefixes)}")
