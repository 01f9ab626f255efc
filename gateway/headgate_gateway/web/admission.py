"""Admit requests by the guards and quotas of their routes, before anything is looked up.

`ShortAdmission` admits requests whose guard can decide at once, without a request object or a task.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from multidict import istr

from headgate_gateway.access.contract import NEEDS_TOKEN, AuthenticatedClient, lacking
from headgate_gateway.access.credentials import (
    READING,
    RequestCredential,
    request_credential,
    without_token,
)
from headgate_gateway.access.operations import READ, SAFE, Need, needs
from headgate_gateway.access.principal import CONSOLE, account_of
from headgate_gateway.access.reader_keys import without_key
from headgate_gateway.errors import (
    NO_STREAM,
    Forbidden,
    HeadgateError,
    StreamNotFound,
    Unauthenticated,
)
from headgate_gateway.live.long_polls import NO_MORE
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.http.header_names import NGINX_FIELD
from headgate_gateway.protocol.http.paths import split
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.routes.contract import PlainGet
from headgate_gateway.runtime.request_fields import RequestFields
from headgate_gateway.runtime.shedding import APPENDS
from headgate_gateway.telemetry import traffic as counted
from headgate_gateway.web.requests import request_body
from headgate_gateway.web.requests.blocks import KnownRequest
from headgate_gateway.web.requests.request import exchange_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp.http_parser import RawRequestMessage
    from multidict import MultiMapping

    from headgate_gateway.access.bans import Bans
    from headgate_gateway.access.contract import Guard
    from headgate_gateway.access.principal import Principal
    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.router import RoutedTarget, Router
    from headgate_gateway.routes.services import Services
    from headgate_gateway.web.requests.exchange import Exchange
    from headgate_gateway.web.requests.request import Request

_CLOSE = b"Connection: close\r\n"
_NGINX = istr(NGINX_FIELD)
KEY_METHODS = READING | {"PUT"}  # methods whose responses may carry the reader key


class ShortAdmission:
    """The admission of requests whose credentials were verified before, or that have none."""

    def __init__(self, routes: Router, clock: Callable[[], float]) -> None:
        self._routes = routes
        self._clock = clock
        self.is_guarded = any(route.access.guard is not None for route in routes)

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
        target, headers = message.path, message.headers
        found = self._at(target.partition("?")[0])
        if found is None:
            return None
        access, principal, reader_key = found.route.access, None, None
        if access.guard is not None:
            principal, target, headers = self._reader(message, access.guard, found)
            if principal is None:
                return None
        # The route takes no tokens, but one in the request must not be cached.
        elif self.is_guarded and (_client(message) or without_token(target) != target):
            return None
        cached_target = target
        if access.reader_keys is not None:
            reader_key, cached_target = without_key(target)
        key, is_last = (headers.get("Host", ""), cached_target), message.should_close
        end, reader = _CLOSE if is_last else b"", principal and _somebody(principal)
        return PlainGet(
            *(target, found.path, headers, key, end, is_last, found.route, reader, reader_key),
            is_of_nginx=_NGINX in headers,
        )

    def _reader(
        self, message: RawRequestMessage | KnownRequest, guard: Guard, found: RoutedTarget
    ) -> tuple[Principal | None, str, MultiMapping[str]]:
        """Return the admitted principal or None, and target and fields without the credential."""
        target, headers, client = message.path, message.headers, _client(message)
        if client is not None:
            if without_token(target) != target:
                return None, target, headers
            return self._readmitted(client, guard, (Need(found.path, READ),)), target, headers
        try:
            token, target = request_credential("GET", target, headers)
        except HeadgateError:
            return None, target, headers
        query = split(target)[1] if guard.needs_query else ""
        needed = (Need(found.path, READ, query),)
        principal = guard.known_principal(headers, token, needed, self._clock())
        return principal, target, headers if principal is None else guard.stripped(headers)

    def admits(self, request: KnownRequest, client: AuthenticatedClient) -> bool:
        """Return whether a request of this client is still admitted at once, without its token."""
        if request.method == "GET":
            return self.get(request) is not None
        if "?" in request.path:  # it may have another token
            return False
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
        """Return the stream at a path; None for a control path, whose handler decides."""
        try:
            place = self._routes.place(path)
        except HeadgateError:
            return None
        return place if place.control is None else None


def _client(message: RawRequestMessage | KnownRequest) -> AuthenticatedClient | None:
    return message.fields.client if isinstance(message, KnownRequest) else None


class _GuardRequest(NamedTuple):
    """A request as the guard of its route decides on it, now or again once its client has waited.

    It does not refer to the exchange, or the token would stay in memory until garbage is collected.
    """

    route: StreamRoute
    guard: Guard
    headers: MultiMapping[str]
    token: str | None
    needs: Sequence[Need]

    async def decide(self, exchange: Exchange, now: float) -> Principal | None:
        """Return the admitted principal, or None for anybody. Raises the refusal."""
        guard, headers, token = self.guard, self.headers, self.token
        try:
            return _somebody(await guard.admit(headers, token, self.needs, now))
        except (Unauthenticated, Forbidden) as refusal:
            if not isinstance(refusal, Unauthenticated):
                exchange.principal = _somebody(guard.known_principal(headers, token, (), now))
            raise _refused(refusal, exchange, self.route) from None

    async def decide_again(self, clock: Callable[[], float], exchange: Exchange) -> None:
        """Ask the guard again if the credential has expired since. Raises the refusal."""
        principal, now = exchange.principal, clock()
        if principal is not None and principal.until <= now:
            exchange.principal = await self.decide(exchange, now)

    def may_read(self, now: float) -> bool:
        """Return whether the client may also read the stream, if that is known at once."""
        read = (self.needs[0]._replace(operations=READ),)
        return self.guard.known_principal(self.headers, self.token, read, now) is not None


def admit_at_once(
    request: Request, exchange: Exchange, place: RoutedTarget, clock: Callable[[], float]
) -> RequestCredential | None:
    """Return the result of `admit` if the guard need not be asked, else None."""
    route = place.route
    guard = route.access.guard
    if place.control is not None:
        return RequestCredential(None, place.target)  # its handler decides
    if guard is None:
        if route.access.reader_keys is not None and _sends_reader_key(request, route):
            exchange.sends_reader_key = True
        return RequestCredential(None, place.target)
    known = request.fields.client
    if known is None:
        return None
    # The lookup of the fields has checked that the credential is still valid.
    sends_reader_key = _sends_reader_key(request, route) and (
        request.method in READING
        or guard.still_admits(known.principal, (Need(place.path, READ),), clock())
    )
    decide_again = partial(refuse_ended, route, clock)
    exchange.admit(known.principal, sends_reader_key=sends_reader_key, decide_again=decide_again)
    return RequestCredential("", place.target)


async def admit_control(
    request: Request,
    place: RoutedTarget,
    needed: Sequence[Need],
    services: Services,
) -> Principal | None:
    """Return the principal of a request to a control path, once the guard admits it to `needed`.

    It is None for anybody. Raises as `admit` does, and the refusal of a client that is banned.
    """
    route, exchange = place.route, exchange_of(request)
    guard, principal = route.access.guard, None
    if guard is not None:
        token = request_credential(request.method, place.target, request.headers).token
        guard_request = _GuardRequest(route, guard, request.headers, token, needed)
        principal = await guard_request.decide(exchange, services.clock())
        exchange.admit(principal, sends_reader_key=False)
    refuse_banned(request, exchange, services.bans)
    return principal


async def admit_granted(
    request: Request, place: RoutedTarget, need: Need, services: Services
) -> Principal:
    """Return the principal of a request to a control path whose own grants cover `need`.

    What everybody may do does not count, nor does a token in the URL. Raises as `admit_control`
    does.
    """
    route, exchange = place.route, exchange_of(request)
    guard = route.access.guard
    token = request_credential(request.method, without_token(place.target), request.headers).token
    if guard is None or token is None:
        raise _refused(Unauthenticated(NEEDS_TOKEN), exchange, route)
    guard_request = _GuardRequest(route, guard, request.headers, token, ())
    principal = await guard_request.decide(exchange, services.clock())
    if principal is None:
        raise _refused(Unauthenticated(NEEDS_TOKEN), exchange, route)
    if not principal.may(need):
        principal.use.forbidden += 1
        exchange.principal = principal
        where = " on every name that begins so"
        raise _refused(lacking(need.operations, where), exchange, route)
    exchange.admit(principal, sends_reader_key=False)
    refuse_banned(request, exchange, services.bans)
    return principal


def refuse_banned(request: Request, exchange: Exchange, bans: Bans) -> None:
    """Raise the refusal of a client that an operator has banned; the console never is."""
    if request.connection.wire.peer == CONSOLE:
        return
    account = account_of(exchange.principal)
    refusal = bans.refusal(account, request.transport, request.fields.headers)
    if refusal is not None:
        exchange.refuse(refusal.detail)
        raise refusal


def charge(request: Request, exchange: Exchange, services: Services) -> None:
    """Count a write against its client's quotas: a creation, or an append for all other methods.

    Raises ClientLimitReached over a quota, and LimitReached while the server sheds load.
    """
    if request.method in SAFE:
        return
    if services.shedding.level:
        services.shedding.check(APPENDS)
    quotas = services.quotas
    if not (quotas.bounds_appends or quotas.bounds_creations):
        return
    account, is_creation = account_of(exchange.principal), request.method == "PUT"
    quotas.write(request.transport, request.fields.headers, account, is_creation=is_creation)


def _sends_reader_key(request: Request, route: StreamRoute) -> bool:
    """Return whether responses to such requests carry the reader key for readers."""
    return route.access.reader_keys is not None and request.method in KEY_METHODS


async def admit(
    request: Request, exchange: Exchange, place: RoutedTarget, clock: Callable[[], float]
) -> RequestCredential:
    """Return the accepted token, and the target without it, once the guard admits the request.

    Raises Unauthenticated or Forbidden, or StreamNotFound where the route conceals these.
    """
    route = place.route
    guard = route.access.guard
    assert guard is not None, "without a guard, `admit_at_once` has admitted it"
    credential = request_credential(request.method, place.target, request.headers)
    needed = needs(request.method, place.path, request.headers, split(credential.target)[1])
    guard_request = _GuardRequest(route, guard, request.headers, credential.token, needed)
    principal = await guard_request.decide(exchange, clock())
    sends_reader_key = _sends_reader_key(request, route) and (
        request.method in READING or guard_request.may_read(clock())
    )
    waits = request.method == "GET" or (request.has_body and request_body.at_hand(request) is None)
    decide_again = partial(guard_request.decide_again, clock) if waits else None
    exchange.admit(principal, sends_reader_key=sends_reader_key, decide_again=decide_again)
    return credential


def _refused(
    refusal: Unauthenticated | Forbidden, exchange: Exchange, route: StreamRoute
) -> HeadgateError:
    """Note a refusal, and return the error that the client gets."""
    is_unknown = isinstance(refusal, Unauthenticated)
    kind = counted.UNAUTHENTICATED if is_unknown else counted.FORBIDDEN
    route.traffic.decisions[kind] += 1
    # The log has it even where the route conceals it from the client.
    exchange.refuse(f"{refusal.code}: {refusal.detail}")
    return StreamNotFound(NO_STREAM) if route.access.conceals else refusal


def _somebody(principal: Principal | None) -> Principal | None:
    return None if principal is None or principal.is_anybody else principal


async def refuse_ended(route: StreamRoute, clock: Callable[[], float], exchange: Exchange) -> None:
    """Raise Unauthenticated, or what conceals it, if the remembered credential has expired."""
    principal = exchange.principal
    if principal is not None and principal.until <= clock():
        exchange.principal = None
        raise _refused(Unauthenticated(NO_MORE, is_refused=True), exchange, route)


async def check_again(exchange: Exchange, route: StreamRoute, answered: RouteAnswer) -> None:
    """Raise the refusal if a reader's credential has expired while it waited for this answer."""
    guard, principal = route.access.guard, exchange.principal
    if guard is None or principal is None or guard.has_decided(answered.cache.result):
        return
    await exchange.check_admission()


def conceal(answered: RouteAnswer, services: Services) -> RouteAnswer:
    """Return an answer of a concealing route, in which every 404 is the same."""
    if answered.status != 404:
        return answered
    if not isinstance(answered.body, bytes):
        answered.body.release()
    return RouteAnswer.of(services.problem(StreamNotFound(NO_STREAM)), cache_status.BYPASS)
