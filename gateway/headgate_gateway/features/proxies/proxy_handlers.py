"""Handle requests below a proxy: create, read, abort, describe and delete its streams."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from typing_extensions import override

from headgate_gateway.access.principal import account_of
from headgate_gateway.errors import MethodNotAllowed, StreamNotFound
from headgate_gateway.features.models.completion import WholeResponse
from headgate_gateway.features.models.ends import ABORTED
from headgate_gateway.features.models.provider.requests import (
    CompletionRequest,
    RequestBody,
    owner_of_account,
)
from headgate_gateway.features.proxies import responses
from headgate_gateway.features.proxies.route import AUTHORIZATION, METHOD, URL
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.http.destinations import destination_of
from headgate_gateway.protocol.http.forwarding import (
    OF_PROXIES_IN_FRONT,
    check_text,
    outgoing_fields,
)
from headgate_gateway.protocol.http.paths import split
from headgate_gateway.protocol.responses import (
    METHODS,
    REQUEST_HEADERS,
    Response,
    deleted,
    preflight,
)
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.runtime.limits import BodyCount
from headgate_gateway.stepped import in_task
from headgate_gateway.web.handlers.hosted_handlers import HostedHandlers
from headgate_gateway.web.operations import PageFields, RouteOperations
from headgate_gateway.web.requests import request_body, request_head
from headgate_gateway.web.requests.request import exchange_of

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from multidict import CIMultiDict, MultiMapping

    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.features.proxies.route import ProxyRoute
    from headgate_gateway.routes.services import Services
    from headgate_gateway.web.asks.plans import Plans
    from headgate_gateway.web.requests.request import Request

UPSTREAM_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# What is replaced, and what a proxy in front says of the client.
_NOT_FORWARDED = OF_PROXIES_IN_FRONT | {
    *("authorization", "accept-encoding"),
    *(it.lower() for it in (URL, METHOD, AUTHORIZATION)),
}

PAGE_FIELDS = PageFields(
    f"{REQUEST_HEADERS}, {AUTHORIZATION}, {METHOD}, {URL}",
    families=("",),  # all others are for the upstream
    may_be_signed=True,
    methods=f"{METHODS}, PATCH",
)


class ProxyHandlers(RouteOperations):
    """The operations of proxies, which `operate` starts."""

    def __init__(self, plans: Plans, services: Services) -> None:
        self._hosted = HostedHandlers(plans, services)
        self._services = services

    @override
    def page_fields(self, _route: ProxyRoute) -> PageFields:
        return PAGE_FIELDS

    @override
    def has_token(self, *_: object) -> bool:
        """Return True: each admitted client has sent a token, or knows a signed URL."""
        return True

    @override
    def error_response(self, error: HeadgateError, problem: Response) -> Response:
        return responses.error_response(error, problem)

    @override
    def operate(
        self, request: Request, target: str, route: ProxyRoute, name: str
    ) -> Coroutine[Any, Any, RouteAnswer | None]:
        """Return a coroutine of the response."""
        request_head.refuse_websocket(request)
        if request.method == "GET" and name:
            return self._read(request, target, route, name)
        return self._other(request, target, route, name)

    async def _other(
        self, request: Request, target: str, route: ProxyRoute, name: str
    ) -> RouteAnswer:
        match request.method, bool(name):
            case "POST", False:
                return await self._create(request, route)
            case "PATCH", True:
                answer = await self._abort(target, route, name)
            case "DELETE", True:
                answer = await self._delete(route, name)
            case "HEAD", True:
                return await self._head(request, route, name)
            case "OPTIONS", _:
                fields = PAGE_FIELDS
                answer = preflight(fields=fields.names, methods=fields.methods)
            case _:
                allowed = "GET, HEAD, PATCH, DELETE, OPTIONS" if name else "POST, OPTIONS"
                raise MethodNotAllowed(f"{request.method[:32]} has no meaning here", allowed)
        return RouteAnswer.of(answer, cache_status.OTHER_METHOD)

    # Create

    async def _create(self, request: Request, route: ProxyRoute) -> RouteAnswer:
        """Send a request to its upstream, and return the signed URL of the response's stream."""
        request.end_with_fin()
        await in_task()
        upstream_request = await self._completion_request(request, route)
        if isinstance(upstream_request, Response):
            return RouteAnswer.of(upstream_request, cache_status.OTHER_METHOD)
        completion = await route.completions.completion_for(upstream_request)
        request.limit_grace(0.0)
        try:
            head = await completion.wait_for_head()
        except asyncio.CancelledError:
            completion.stop(ABORTED)  # nobody has its URL
            raise
        if isinstance(head, WholeResponse):
            return responses.of_upstream(head)
        signed = route.signatures.signed(f"{route.prefix}/{completion.name}")
        location = f"{request_head.base_url(request)}{signed}"
        created = responses.created(location, dict(head.fields)["Content-Type"])
        return RouteAnswer.of(created, cache_status.OTHER_METHOD)

    async def _completion_request(
        self, request: Request, route: ProxyRoute
    ) -> CompletionRequest | Response:
        """Return the request for the upstream, or what is wrong with it.

        Raises DestinationRefused.
        """
        headers = request.headers
        url, method = headers.getall(URL, ()), headers.getall(METHOD, ())
        if len(url) != 1 or not url[0]:
            return responses.refusal(400, "MISSING_UPSTREAM_URL", f"{URL} is required, once")
        if len(method) != 1 or not method[0]:
            return responses.refusal(400, "MISSING_UPSTREAM_METHOD", f"{METHOD} is required, once")
        if method[0].upper() not in UPSTREAM_METHODS:
            sentence = f"{METHOD} must be one of {', '.join(UPSTREAM_METHODS)}"
            return responses.refusal(400, "INVALID_UPSTREAM_METHOD", sentence)
        if len(headers.getall(AUTHORIZATION, ())) > 1:
            sentence = f"{AUTHORIZATION} may be given once"
            return responses.refusal(400, "INVALID_UPSTREAM_AUTHORIZATION", sentence)
        destination = destination_of(url[0])
        route.provider.hosts.check(destination)
        body, forwarded = b"", _forwarded(headers)
        with BodyCount(self._services.limits) as counted:
            if request.has_body:
                still_admitted = exchange_of(request).check_admission
                body = await request_body.whole(
                    request, self._services, still_admitted, may_be_coded=True, counted=counted
                )
        return CompletionRequest(
            owner_of_account(account_of(exchange_of(request).principal)),
            None,
            destination.origin,
            destination.target,
            forwarded,
            RequestBody(body, counted=counted),
            None,
            is_plain=True,
            method=method[0].upper(),
        )

    # Streams

    async def _read(
        self, request: Request, target: str, route: ProxyRoute, name: str
    ) -> RouteAnswer | None:
        """Return the data of a stream, or None once the connection is handed over."""
        completion = await route.find(name)
        streams, stored = route.streams, route.stored_target(target, name)
        known = await route.fields(completion, is_at_end=False)
        read = await self._hosted.get(
            request, stored, streams.route, streams.full_name(name), known
        )
        if read is None:
            return None
        fields = await route.fields(completion, is_at_end=read.facts.closed)
        return responses.of_stream(read, fields, is_for_any_page=self._services.lines.any_origin)

    async def _head(self, request: Request, route: ProxyRoute, name: str) -> RouteAnswer:
        completion = await route.find(name)
        streams = route.streams
        described = await self._hosted.other(request, streams.route, streams.full_name(name))
        fields = await route.fields(completion, is_at_end=described.facts.closed)
        return responses.of_stream(
            described, fields, is_for_any_page=self._services.lines.any_origin
        )

    @staticmethod
    async def _abort(target: str, route: ProxyRoute, name: str) -> Response:
        """End a response's request; all bytes that have come stay in its stream."""
        if parse_qs(split(target)[1]).get("action") != ["abort"]:
            return responses.refusal(400, "INVALID_ACTION", "action must be abort")
        completion = await route.find(name)
        completion.stop(ABORTED)
        await completion.wait_for_end()
        return deleted()

    @staticmethod
    async def _delete(route: ProxyRoute, name: str) -> Response:
        """Delete a stream, which ends its request; a missing one is not an error."""
        try:
            completion = await route.find(name)
        except StreamNotFound:
            return deleted()
        await in_task()
        await route.completions.stored.delete(name)
        await completion.wait_for_end()
        return deleted()


def _forwarded(headers: MultiMapping[str]) -> CIMultiDict[str]:
    """Return the header fields for the upstream, which must not compress its response."""
    fields = outgoing_fields(headers, _NOT_FORWARDED)
    check_text(fields)
    if AUTHORIZATION in headers:
        fields["Authorization"] = headers[AUTHORIZATION]
    fields["Accept-Encoding"] = "identity"
    return fields
