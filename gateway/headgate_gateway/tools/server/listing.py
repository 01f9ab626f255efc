"""The list of a server's streams, page by page, from the API of its admin listener."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import msgspec

from headgate_gateway.errors import BadRequest
from headgate_gateway.features.console.name_search import glob_beginning, name_test
from headgate_gateway.features.questions.streams import StreamPage
from headgate_gateway.tools.server.admin_requests import admin_value
from headgate_gateway.tools.shell.failure import Failed
from headgate_gateway.tools.shell.output import note
from headgate_gateway.tools.shell.terminal import safe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from headgate.stream_requests import StreamRequests
    from headgate_gateway.features.questions.streams import StreamOrder, StreamRow

T = TypeVar("T")

PAGE = 500  # streams, as many as the API gives at once
ONLY_KNOWN = "headgate: {} is before an origin: only what it caches or follows is known."
ORDERS_AT_ORIGINS = {"name", "readers"}  # a gateway knows no size there, and no rate
NOT_SORTED = "{} leads to an origin, whose streams cannot be sorted by {}"


class _Route(msgspec.Struct):
    prefix: str
    kind: str = ""


class _RouteList(msgspec.Struct):
    routes: list[_Route]


@dataclass(frozen=True, slots=True)
class ListedPath:
    """A stream with its URL, without secrets, and its name below the base as a command takes it."""

    url: str
    path: str
    name: str
    row: StreamRow


@dataclass(frozen=True, slots=True)
class NameSearch:
    """The names below a base that begin with `prefix`, have `contains` and are like `glob`.

    `order` is that of each route's streams.
    """

    prefix: str = ""
    contains: str = ""
    glob: str = ""
    order: StreamOrder = "name"

    @property
    def beginning(self) -> str:
        """The text that all of these names begin with."""
        return quote(self.prefix, safe="/%") or glob_beginning(self.glob)

    @property
    def words(self) -> str:
        """The search as people read it, behind the base."""
        more = [f"with {text!r} in it" for text in (self.contains,) if text]
        if not self.glob:
            return " ".join([f"{self.prefix}*", *more])
        more += [f"beginning with {text!r}" for text in (self.prefix,) if text]
        return " ".join([self.glob, *more])

    def test(self) -> Callable[[str], bool]:
        """Return a function that tells whether a name fits. Raises Failed for a text too long.

        Raises UnicodeEncodeError for bytes that are not UTF-8: no name has them so.
        """
        f"{self.contains}{self.glob}".encode()
        try:
            return name_test(self.contains, self.glob) or (lambda _name: True)
        except BadRequest as refusal:
            raise Failed(refusal.detail) from refusal


async def streams_below(
    admin: StreamRequests, base: str, search: NameSearch
) -> AsyncIterator[ListedPath]:
    """Yield the streams below `base` that a search finds, by route and name.

    Only one page is in memory. A route without such an order is left out, with a note. Raises
    Failed where there is no such API, or no such route, or none with such an order.
    """
    parts = urlsplit(base)
    home = parts.path.rstrip("/") + "/"
    begins, fits = home + search.beginning, search.test()
    for route, rest in await routes_below(admin, begins, search.order):
        async for row in _rows(admin, route, rest, search.order):
            path = f"{route}/{row.name}"
            if not path.startswith(begins):  # such as a name that is written in another way
                raise Failed(f"{admin.shown}: it lists {path}, which does not begin with {begins}")
            if not fits(path.removeprefix(home)):
                continue
            url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))
            name = unquote(path.removeprefix(home))
            # A name that would be printed in another form cannot be passed on; its URL can.
            is_plain = quote(name, safe="/") in path and safe(name) == name
            yield ListedPath(url, path, name if is_plain else url, row)


async def place_of(admin: StreamRequests, path: str) -> tuple[str, str]:
    """Return the route that serves the stream at a URL's `path`, and the stream's name in it.

    Raises Failed where there is no such API, or no such route.
    """
    places = await routes_below(admin, path)
    return max(places, key=lambda place: len(place[0]))  # the longest prefix serves it


async def routes_below(
    admin: StreamRequests, prefix: str, order: StreamOrder = "name"
) -> list[tuple[str, str]]:
    """Return each route that has streams with such paths, and how their names in it begin.

    Those that cannot list them in this order are named in a note. Raises Failed where there is no
    such API, or no such route, or where none can.
    """
    kinds = {it.prefix: it.kind for it in (await _get(admin, "routes", {}, _RouteList)).routes}
    routes, found = sorted(kinds), []
    for route in routes:
        inside = f"{route}/"
        if prefix.startswith(inside):
            found.append((route, prefix.removeprefix(inside)))
        elif inside.startswith(prefix):
            found.append((route, ""))
    if not found:
        has = ", ".join(routes[:10])
        shown = admin.shown.removesuffix("/api")
        raise Failed(f"{shown} has no route for {prefix}, so no list of its streams: it has {has}")
    if order in ORDERS_AT_ORIGINS or not (others := [it for it in found if kinds[it[0]] == "http"]):
        return found
    words = NOT_SORTED.format(", ".join(route for route, _ in others), order)
    if others == found:
        raise Failed(words)
    note(f"headgate: {words}: those of the other routes follow.")
    return [it for it in found if it not in others]


async def _rows(
    admin: StreamRequests, route: str, prefix: str, order: StreamOrder
) -> AsyncIterator[StreamRow]:
    query = {"route": route, "begins": prefix, "order": order, "limit": str(PAGE)}
    page = await _get(admin, "streams", query, StreamPage)
    if page.known_only:
        note(ONLY_KNOWN.format(route))
    while True:
        for row in page.rows:
            yield row
        if page.after is None:
            return
        page = await _get(admin, "streams", query | {"after": page.after}, StreamPage)


async def _get(admin: StreamRequests, name: str, query: Mapping[str, str], kind: type[T]) -> T:
    return await admin_value(admin, f"api/v1/{name}", query, kind)
