"""Handle requests for the names of a route's streams, an addition to the protocol.

A request is authorized for all names that the list could have, before the log is read. No name is
left out of a page by itself: so a page costs what is on it, and what it lacks tells nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from typing_extensions import override

from headgate_gateway.access.operations import READ, Need
from headgate_gateway.errors import BadRequest, MethodNotAllowed
from headgate_gateway.protocol import cache_headers, responses
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.http.paths import LISTING, canonical_beginning, parse_query, split
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.routes.feature import RouteFeature
from headgate_gateway.runtime.shedding import READS
from headgate_gateway.streams.present_streams import present_page
from headgate_gateway.telemetry import traffic as counted
from headgate_gateway.web.admission import admit_granted
from headgate_gateway.web.requests.request import exchange_of
from headgate_gateway.web.routed_request import RoutedRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_gateway.routes.feature import FeatureRequest
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.streams.route import HostedRoute

PAGE = 100  # names of a page by default
LARGEST_PAGE = 1_000  # 2 MB of the longest names
_LIMIT = f"limit is a whole number from 1 to {LARGEST_PAGE:,}"
_FIELDS = f"{responses.SECURITY}{cache_headers.NO_STORE}Content-Type: application/json\r\n"


class _Query(NamedTuple):
    """The beginning of the names, the name after which a page begins, and its size."""

    begins: str
    after: str
    limit: int


class ListedStreams(RouteFeature):
    """The list of the streams of one route."""

    control = LISTING

    def __init__(self, route: HostedRoute, made: RouteSetup) -> None:
        self._route = route
        self._services = made.services

    @override
    def has_path(self, name: str) -> bool:
        return name == LISTING

    @override
    async def operate(self, control: FeatureRequest) -> RouteAnswer:
        """Return a page of names, in the order of their bytes."""
        request, place = RoutedRequest.parts(control)
        request.limit_grace(0.0)
        exchange, services = exchange_of(request), self._services
        exchange.operation = counted.LIST
        query, error = _parsed(place.target)
        # A request that cannot be understood may mean all streams.
        need = Need(f"{place.route.prefix}/{query.begins}*", READ)
        principal = await admit_granted(request, place, need, services)
        if request.method != "GET":
            raise MethodNotAllowed("a list takes GET", "GET")
        if error is not None:
            raise error
        services.shedding.check(READS)
        headers, account = request.fields.headers, principal.account
        client = services.quotas.counts_as(request.transport, headers, account)
        with services.limits.listing(client):
            listed = await present_page(self._route.table, *query)
        page = {"streams": [state.path for state in listed.states], "next": listed.after}
        response = responses.Response(200, _FIELDS, msgspec.json.encode(page))
        return RouteAnswer.of(response, cache_status.BYPASS)


def _parsed(target: str) -> tuple[_Query, BadRequest | None]:
    """Return the query of a target, or one for all streams with the error of another."""
    try:
        values = parse_query(split(target)[1])
        begins = canonical_beginning(values.get("begins", ""))
    except BadRequest as error:
        return _Query("", "", PAGE), error
    try:
        return _Query(begins, canonical_beginning(values.get("after", "")), _limit(values)), None
    except BadRequest as error:
        return _Query(begins, "", PAGE), error


def _limit(values: Mapping[str, str]) -> int:
    text = values.get("limit", str(PAGE))
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST_PAGE))
    if not is_number or not 1 <= int(text) <= LARGEST_PAGE:
        raise BadRequest(_LIMIT)
    return int(text)
