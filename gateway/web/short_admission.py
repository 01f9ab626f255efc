"""Whom the guards of routes admit at once, without a request object or a task."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from gateway.access.contract import Admitted
from gateway.access.credentials import present, without_token
from gateway.access.operations import READ, Need, needs
from gateway.access.reader_keys import without_key
from gateway.errors import HeadgateError
from gateway.protocol.http.paths import MAX_PATH_BYTES
from gateway.protocol.http.target import canonical_target, split
from gateway.runtime.request_fields import RequestFields
from gateway.runtime.route import PlainGet
from gateway.web.requests.request_block import KnownRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp.http_parser import RawRequestMessage
    from multidict import MultiMapping

    from gateway.access.contract import Guard
    from gateway.access.principal import Principal
    from gateway.runtime.route import StreamRoute
    from gateway.web.router import Router

REMEMBERED_PATHS = 2048  # of streams that are used: 1 MB, at worst 10
LONGEST_PATH = MAX_PATH_BYTES  # a handler looks at what is spelled at more length
_CLOSE = b"Connection: close\r\n"


class _Found(NamedTuple):
    route: StreamRoute
    path: str
    to_read: tuple[Need, ...]


class ShortAdmission:
    """Admits requests whose credentials are known; a handler asks the guard about all others."""

    def __init__(self, routes: Router, clock: Callable[[], float]) -> None:
        self._routes = routes
        self._clock = clock
        self._found = lru_cache(REMEMBERED_PATHS)(self._find)

    def fields(self, message: RawRequestMessage) -> RequestFields | None:
        """The fields of a request without its bearer token, and whose that was.

        They say the same of whatever else comes with them. None where no token was accepted.
        """
        if "Authorization" not in message.headers:
            return None
        found = self._at(message.path.partition("?")[0])
        guard = None if found is None else found.route.access.guard
        if guard is None or guard.goes_by_query:
            return None
        try:
            token, _ = present(message.method, message.path, message.headers)
        except HeadgateError:
            return None
        principal = guard.admitted(message.headers, token, (), self._clock())
        if token is None or principal is None or principal.is_anybody:
            return None
        admitted = Admitted(guard, principal)
        return RequestFields(guard.stripped(message.headers), are_known=True, admitted=admitted)

    def get(self, message: RawRequestMessage | KnownRequest) -> PlainGet | None:
        """A GET that needs no answer of its own, without its credential, if it is admitted."""
        target = message.path
        found = self._at(target.partition("?")[0])
        if found is None:
            return None
        access, admitted = found.route.access, _admitted(message)
        if access.guard is None:
            # A token there is nobody's here, but it is a token.
            is_plain = admitted is None and without_token(target) == target
            return plain_get(message) if is_plain else None
        if admitted is None:
            reader = self._reader(message, access.guard, found)
        elif without_token(target) == target:
            principal = self._still(admitted, access.guard, found.to_read)
            reader = principal, target, message.headers
        else:
            return None
        principal, target, headers = reader
        if principal is None:
            return None
        keyless: tuple[str | None, str] = (None, target)
        if access.reader_keys is not None:
            keyless = without_key(target)
        reader_key, kept_as = keyless
        is_last = message.should_close
        return PlainGet(
            target,
            headers,
            (headers.get("Host", ""), kept_as),
            _CLOSE if is_last else b"",
            is_last,
            None if principal.is_anybody else principal,
            access.conceals,
            reader_key,
        )

    def _reader(
        self, message: RawRequestMessage | KnownRequest, guard: Guard, found: _Found
    ) -> tuple[Principal | None, str, MultiMapping[str]]:
        """Who is admitted, if anybody, and the target and fields without his credential."""
        headers = message.headers
        try:
            token, target = present("GET", message.path, headers)
        except HeadgateError:
            return None, message.path, headers
        to_read = found.to_read
        if guard.goes_by_query:
            to_read = (Need(found.path, READ, split(target)[1]),)
        principal = guard.admitted(headers, token, to_read, self._clock())
        return principal, target, headers if principal is None else guard.stripped(headers)

    def writer(self, message: RawRequestMessage | KnownRequest) -> str | None:
        """Who is admitted with a request whose target has no query, and is no GET: whose account.

        It is empty for anybody, and None for who is not admitted.
        """
        found = self._at(message.path)
        if found is None:
            return None
        access, headers, admitted = found.route.access, message.headers, _admitted(message)
        guard = access.guard
        if guard is None:
            return "" if admitted is None else None
        if access.conceals:  # what a log says of a stream that is not there has to be checked
            return None
        principal: Principal | None
        try:
            needed = needs(message.method, found.path, headers)
            if admitted is None:
                token, _ = present(message.method, message.path, headers)
                principal = guard.admitted(headers, token, needed, self._clock())
            else:
                principal = self._still(admitted, guard, needed)
        except HeadgateError:
            return None
        if principal is None:
            return None
        return "" if principal.is_anybody else principal.account

    def _still(self, admitted: Admitted, guard: Guard, needed: Sequence[Need]) -> Principal | None:
        """Whoever was admitted with the same fields before, if he is for this, too."""
        its, principal = admitted
        is_let = its is guard and guard.still_admits(principal, needed, self._clock())
        return principal if is_let else None

    def _at(self, path: str) -> _Found | None:
        return self._found(path) if len(path) <= LONGEST_PATH else None

    def _find(self, path: str) -> _Found | None:
        try:
            canonical, _ = split(canonical_target(path))
            route, _ = self._routes.find(canonical)
        except HeadgateError:
            return None
        return _Found(route, canonical, (Need(canonical, READ),))


def _admitted(message: RawRequestMessage | KnownRequest) -> Admitted | None:
    return message.fields.admitted if isinstance(message, KnownRequest) else None


def plain_get(message: RawRequestMessage | KnownRequest) -> PlainGet:
    """A GET as its head has it."""
    headers, target = message.headers, message.path
    key = (headers.get("Host", ""), target)
    is_last = message.should_close
    return PlainGet(target, headers, key, _CLOSE if is_last else b"", is_last)
