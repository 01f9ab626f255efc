"""Admission of requests whose guard can decide at once, without a request object or a task.

The fast path calls it for each request that has been parsed; the others get a handler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access.contract import AuthenticatedClient
from gateway.access.credentials import request_credential, without_token
from gateway.access.operations import READ, Need, needs
from gateway.access.reader_keys import without_key
from gateway.errors import HeadgateError
from gateway.protocol.http.target import split
from gateway.runtime.request_fields import RequestFields
from gateway.runtime.route import PlainGet
from gateway.web.requests.blocks import KnownRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp.http_parser import RawRequestMessage
    from multidict import MultiMapping

    from gateway.access.contract import Guard
    from gateway.access.principal import Principal
    from gateway.web.admission import RoutedTarget
    from gateway.web.router import Router

_CLOSE = b"Connection: close\r\n"


class ShortAdmission:
    """The admission of requests whose credentials were verified before, or that have none."""

    def __init__(self, routes: Router, clock: Callable[[], float]) -> None:
        self._routes = routes
        self._clock = clock

    def fields(self, message: RawRequestMessage) -> RequestFields | None:
        """Return the fields of a request with its client in place of its bearer token.

        They can be reused for any target and body with the same head. Return None if the guard
        cannot verify the token at once.
        """
        if "Authorization" not in message.headers:
            return None
        found = self._at(message.path.partition("?")[0])
        guard = None if found is None else found.route.access.guard
        if guard is None or guard.needs_query:
            return None
        try:
            token, _ = request_credential(message.method, message.path, message.headers)
        except HeadgateError:
            return None
        principal = guard.known_principal(message.headers, token, (), self._clock())
        if token is None or principal is None or principal.is_anybody:
            return None
        client = AuthenticatedClient(guard, principal)
        return RequestFields(guard.stripped(message.headers), are_known=True, client=client)

    def get(self, message: RawRequestMessage | KnownRequest) -> PlainGet | None:
        """Return a GET without its credential, or None if it is not admitted at once.

        Only a response that may be shared may be sent to it.
        """
        target = message.path
        found = self._at(target.partition("?")[0])
        if found is None:
            return None
        access, client = found.route.access, _client(message)
        if access.guard is None:
            # The route takes no tokens, but one in the request must not be cached.
            is_plain = client is None and without_token(target) == target
            return plain_get(message) if is_plain else None
        if client is None:
            reader = self._reader(message, access.guard, found)
        elif without_token(target) == target:
            principal = self._readmitted(client, access.guard, (Need(found.path, READ),))
            reader = principal, target, message.headers
        else:
            return None
        principal, target, headers = reader
        if principal is None:
            return None
        keyless: tuple[str | None, str] = (None, target)
        if access.reader_keys is not None:
            keyless = without_key(target)
        reader_key, cached_target = keyless
        is_last = message.should_close
        return PlainGet(
            target,
            headers,
            (headers.get("Host", ""), cached_target),
            _CLOSE if is_last else b"",
            is_last,
            None if principal.is_anybody else principal,
            access.conceals,
            reader_key,
        )

    def _reader(
        self, message: RawRequestMessage | KnownRequest, guard: Guard, found: RoutedTarget
    ) -> tuple[Principal | None, str, MultiMapping[str]]:
        """Return the admitted principal or None, and target and fields without the credential."""
        headers = message.headers
        try:
            token, target = request_credential("GET", message.path, headers)
        except HeadgateError:
            return None, message.path, headers
        query = split(target)[1] if guard.needs_query else ""
        needed = (Need(found.path, READ, query),)
        principal = guard.known_principal(headers, token, needed, self._clock())
        return principal, target, headers if principal is None else guard.stripped(headers)

    def admits_write(self, request: KnownRequest, client: AuthenticatedClient) -> bool:
        """Return whether a write to a target without a query is still admitted at once."""
        found = self._at(request.path)
        guard = None if found is None else found.route.access.guard
        # Only a handler conceals why a response is a 404.
        if found is None or guard is None or found.route.access.conceals:
            return False
        try:
            needed = needs(request.method, found.path, request.headers)
        except HeadgateError:
            return False
        return self._readmitted(client, guard, needed) is not None

    def _readmitted(
        self, client: AuthenticatedClient, guard: Guard, needed: Sequence[Need]
    ) -> Principal | None:
        """Return the principal of parsed fields if the guard still admits it to `needed`."""
        admitted_by, principal = client
        is_admitted = admitted_by is guard and guard.still_admits(principal, needed, self._clock())
        return principal if is_admitted else None

    def _at(self, path: str) -> RoutedTarget | None:
        """Return the stream at a path; None for what its handler judges itself."""
        try:
            place = self._routes.place(path)
        except HeadgateError:
            return None
        return place if place.control is None else None


def _client(message: RawRequestMessage | KnownRequest) -> AuthenticatedClient | None:
    return message.fields.client if isinstance(message, KnownRequest) else None


def plain_get(message: RawRequestMessage | KnownRequest) -> PlainGet:
    """Return a GET with the values of its head."""
    headers, target = message.headers, message.path
    key = (headers.get("Host", ""), target)
    is_last = message.should_close
    return PlainGet(target, headers, key, _CLOSE if is_last else b"", is_last)
