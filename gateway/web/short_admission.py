"""Whom the guards of routes admit at once, without a request object or a task."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from gateway.access.credentials import present, without_token
from gateway.access.operations import READ, Need, needs
from gateway.access.reader_keys import without_key
from gateway.errors import HeadgateError
from gateway.protocol.paths import MAX_PATH_BYTES
from gateway.protocol.target import canonical_target, split
from gateway.runtime.route import PlainGet

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.http_parser import RawRequestMessage
    from multidict import MultiMapping

    from gateway.access.principal import Principal
    from gateway.runtime.route import StreamRoute
    from gateway.web.request_block import KnownRequest
    from gateway.web.router import Router

REMEMBERED_PATHS = 2048  # of streams that are used: 1 MB, at worst 10
LONGEST_PATH = MAX_PATH_BYTES  # what is spelled at more length goes the ordinary way
_CLOSE = b"Connection: close\r\n"


class _Found(NamedTuple):
    route: StreamRoute
    path: str
    to_read: tuple[Need, ...]


class ShortAdmission:
    """What it says None of goes the ordinary way, which knows why."""

    def __init__(self, routes: Router, clock: Callable[[], float]) -> None:
        self._routes = routes
        self._clock = clock
        self._found = lru_cache(REMEMBERED_PATHS)(self._find)

    def get(self, message: RawRequestMessage | KnownRequest) -> PlainGet | None:
        """A GET that needs no answer of its own, without its credential, if it is admitted."""
        target = message.path
        found = self._at(target.partition("?")[0])
        if found is None:
            return None
        guard = found.route.access.guard
        if guard is None:
            # A token there is nobody's here, but it is a token.
            return plain_get(message) if without_token(target) == target else None
        try:
            token, target = present("GET", target, message.headers)
        except HeadgateError:
            return None
        to_read = found.to_read
        if guard.goes_by_query:
            to_read = (Need(found.path, READ, split(target)[1]),)
        principal = guard.admitted(message.headers, token, to_read, self._clock())
        if principal is None:
            return None
        access = found.route.access
        keyless: tuple[str | None, str] = (None, target)
        if access.reader_keys is not None:
            keyless = without_key(target)
        reader_key, kept_as = keyless
        return replace(
            plain_get(message),
            target=target,
            headers=guard.stripped(message.headers),
            key=(message.headers.get("Host", ""), kept_as),
            principal=None if principal.is_anybody else principal,
            conceals=access.conceals,
            reader_key=reader_key,
        )

    def writer(self, message: RawRequestMessage | KnownRequest) -> str | None:
        """Who is admitted with a request whose target has no query, and is no GET: whose account.

        It is empty for anybody, and None for who is not admitted.
        """
        found = self._at(message.path)
        if found is None:
            return None
        guard, conceals = found.route.access.guard, found.route.access.conceals
        if guard is None:
            return ""
        headers: MultiMapping[str] = message.headers
        try:
            token, _ = present(message.method, message.path, headers)
            needed = needs(message.method, found.path, headers)
        except HeadgateError:
            return None
        principal: Principal | None = None
        if not conceals:  # else what a log says of a stream that is not there has to be checked
            principal = guard.admitted(headers, token, needed, self._clock())
        if principal is None:
            return None
        return "" if principal.is_anybody else principal.account

    def _at(self, path: str) -> _Found | None:
        return self._found(path) if len(path) <= LONGEST_PATH else None

    def _find(self, path: str) -> _Found | None:
        try:
            canonical, _ = split(canonical_target(path))
            route, _ = self._routes.find(canonical)
        except HeadgateError:
            return None
        return _Found(route, canonical, (Need(canonical, READ),))


def plain_get(message: RawRequestMessage | KnownRequest) -> PlainGet:
    """A GET as its head has it."""
    headers, target = message.headers, message.path
    key = (headers.get("Host", ""), target)
    is_last = message.should_close
    return PlainGet(target, headers, key, _CLOSE if is_last else b"", is_last)
