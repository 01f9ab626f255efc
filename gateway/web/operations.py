"""The operations on the routes of one kind, as the dispatch of requests calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.protocol.responses import HEADGATE_FIELDS, METHODS, REQUEST_HEADERS

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from multidict import MultiMapping

    from gateway.errors import HeadgateError
    from gateway.later import Later
    from gateway.protocol.responses import Response
    from gateway.runtime.answer import RouteAnswer
    from gateway.web.requests.request import Request


class PageFields(NamedTuple):
    """The header fields that pages of other web origins may send to a route.

    `families` are beginnings of further names, and `tokens` the names of fields with a token of
    this server; both are in lower case. Where the token `may_be_signed` into the URL, no field
    tells of it. `methods` are those of writes.
    """

    names: str = REQUEST_HEADERS
    families: tuple[str, ...] = (HEADGATE_FIELDS,)
    tokens: frozenset[str] = frozenset({"authorization"})
    may_be_signed: bool = False
    methods: str = METHODS


OF_STREAMS = PageFields()


class RouteOperations:
    """The operations on routes of one kind. A kind overrides in what its clients differ."""

    def operate(
        self,
        request: Request,
        target: str,
        route: Any,  # noqa: ANN401 - of the kind that is served
        name: str,
    ) -> RouteAnswer | Later[RouteAnswer] | Coroutine[Any, Any, RouteAnswer | None]:
        """Return the outcome of a request, or what to wait for. An outcome of None: handed over."""
        raise NotImplementedError

    def page_fields(self, _route: Any) -> PageFields:  # noqa: ANN401 - as above
        """Return the fields that pages may send to a route."""
        return OF_STREAMS

    def has_token(
        self,
        _route: Any,  # noqa: ANN401 - as above
        _headers: MultiMapping[str],
        bearer: str | None,
    ) -> bool:
        """Return whether a request with this bearer token has a token that no browser adds."""
        return bearer is not None

    def error_response(self, _error: HeadgateError, problem: Response) -> Response:
        """Return the response for an error, of which `problem` is the usual one."""
        return problem
