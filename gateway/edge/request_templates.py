"""Requests to an origin, built once for all reads with the same header fields and address.

The handlers of a route to an HTTP origin take each GET's request from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec.structs import replace

from gateway.origin.requests import field_block
from gateway.protocol.http.forwarding import RequestSender
from gateway.protocol.http.paths import canonical_host
from gateway.protocol.origins.followed import FOREVER

if TYPE_CHECKING:
    from multidict import MultiMapping

    from gateway.edge.reads.stream_lifetimes import StreamLifetimes
    from gateway.edge.rules.cached_response import CacheRequest
    from gateway.protocol.http.identity import IdentityHeaders
    from gateway.protocol.origins.edge_target import EdgeCatchUp

MAX_TEMPLATES = 1024  # blocks of fields, each with the request built from it: 4 MB


class RequestBuilder(Protocol):
    """The part of `OriginRequests` that builds a request to the origin of one route."""

    identity: IdentityHeaders
    lifetimes: StreamLifetimes
    scheme: str

    def cache_request(
        self, headers: MultiMapping[str], sender: RequestSender, read: EdgeCatchUp
    ) -> CacheRequest:
        """Return a GET with its cache key and the header fields that the origin is sent."""


class _Template(NamedTuple):
    """A request to the origin that was built from one block of fields and one address."""

    headers: MultiMapping[str]  # referenced here, so that no other object gets its id
    request: CacheRequest  # for the stream that was read first


class RequestTemplates:
    """The requests built for one route, by the reader's block of fields and its address.

    Requests whose fields identify their reader are built each time. `request` returns the same as
    `RequestBuilder.cache_request`, with the fields also as bytes.
    """

    def __init__(self, builder: RequestBuilder) -> None:
        self._builder = builder
        self._templates: dict[tuple[int, str], _Template] = {}

    def __len__(self) -> int:
        return len(self._templates)

    def request(
        self,
        shared: MultiMapping[str],
        headers: MultiMapping[str],
        address: str,
        read: EdgeCatchUp,
        *,
        tells_more: bool,
    ) -> CacheRequest:
        """Return the request to the origin for a read.

        `shared` is one object for all requests with the same fields; `headers` may have fields of
        this request alone. Its id and its validators are not sent to the origin; if it `tells_more`
        there is another one, which is.
        """
        template = self._templates.get((id(shared), address))
        request = self._add(shared, address, read) if template is None else template.request
        if headers is shared:
            headers = request.headers
        elif tells_more or request.headers is not shared:
            return self._build(headers, address, read)
        lifetime = self._builder.lifetimes.by_path.get(read.path, FOREVER)
        return replace(request, read=read, headers=headers, lifetime=lifetime)

    def _build(self, headers: MultiMapping[str], address: str, read: EdgeCatchUp) -> CacheRequest:
        builder = self._builder
        named = canonical_host(headers.get("Host", ""))
        sender = RequestSender(address, builder.scheme, named)
        return builder.cache_request(builder.identity.without_cookie(headers), sender, read)

    def _add(self, shared: MultiMapping[str], address: str, read: EdgeCatchUp) -> CacheRequest:
        request = self._build(shared, address, read)
        request = replace(request, block=field_block(request.fields))
        if not request.identity:  # its fields identify no reader
            if len(self._templates) >= MAX_TEMPLATES:
                self._templates.clear()
            self._templates[id(shared), address] = _Template(shared, request)
        return request
