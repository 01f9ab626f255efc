"""Requests for an origin, built once for all reads that come with the same header fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec.structs import replace

from gateway.origin.raw_way import RawWay
from gateway.protocol.http.forwarding import SCHEME, RequestSender
from gateway.protocol.http.paths import canonical_host
from gateway.runtime.request_fields import OWN_LINES

if TYPE_CHECKING:
    from multidict import MultiMapping

    from gateway.cache.rules.cached_response import CacheRequest
    from gateway.cache.stream_lifetimes import StreamLifetimes
    from gateway.protocol.http.identity import IdentityHeaders
    from gateway.protocol.origins.edge_target import EdgeCatchUp

REMEMBERED = 1024  # blocks of fields, each with the request built from it: 4 MB


class RequestBuilder(Protocol):
    """The builder of one route's requests for its origin, as `OriginRequests` is one."""

    identity: IdentityHeaders
    lifetimes: StreamLifetimes

    def cache_request(
        self, headers: MultiMapping[str], sender: RequestSender, read: EdgeCatchUp
    ) -> CacheRequest:
        """Return a GET with its cache key and the header fields that the origin is sent."""


class _Asker(NamedTuple):
    """The request for the origin that was built from one block of fields and one address."""

    headers: MultiMapping[str]  # kept alive, so that no other object gets its id
    request: CacheRequest  # for the stream that was read first


class RequestTemplates:
    """The requests that one route has built, by the block of fields and the address they came from.

    No request is kept whose fields identify its reader. `request` returns what
    `RequestBuilder.cache_request` does, and adds the fields as bytes.
    """

    def __init__(self, builder: RequestBuilder) -> None:
        self._builder = builder
        self._known: dict[tuple[int, str], _Asker] = {}
        identity = builder.identity
        # Lines that differ from request to request are not sent to the origin, unless they identify
        # the reader.
        self._may_have_own = not any(
            identity.has(name) or name.lower() in identity.dropped for name in OWN_LINES
        )

    def __len__(self) -> int:
        return len(self._known)

    def request(
        self,
        shared: MultiMapping[str],
        headers: MultiMapping[str],
        address: str,
        read: EdgeCatchUp,
    ) -> CacheRequest:
        """Return the request by which the origin is asked for a read.

        `shared` is one object for all requests with the same fields; `headers` may have lines of
        this request besides.
        """
        known = self._known.get((id(shared), address))
        request = self._learn(shared, address, read) if known is None else known.request
        if headers is shared:
            headers = request.headers
        elif not (self._may_have_own and request.headers is shared):
            return self._build(headers, address, read)
        lifetime = self._builder.lifetimes.of(read.path)
        return replace(request, read=read, headers=headers, lifetime=lifetime)

    def _build(self, headers: MultiMapping[str], address: str, read: EdgeCatchUp) -> CacheRequest:
        builder = self._builder
        sender = RequestSender(address, SCHEME, canonical_host(headers.get("Host", "")))
        return builder.cache_request(builder.identity.without_cookie(headers), sender, read)

    def _learn(self, shared: MultiMapping[str], address: str, read: EdgeCatchUp) -> CacheRequest:
        request = self._build(shared, address, read)
        request = replace(request, block=RawWay.block(request.fields))
        if not request.identity:  # fields that identify a reader are not kept
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[id(shared), address] = _Asker(shared, request)
        return request
