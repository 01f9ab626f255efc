"""The requests that a route sends to its origin for readers, and how they are keyed."""

from __future__ import annotations

import secrets
from hashlib import blake2b
from typing import TYPE_CHECKING

from gateway.access.credentials import request_credential, with_token
from gateway.cache.rules.cached_response import CacheRequest
from gateway.cache.rules.directives import normalised
from gateway.cache.stream_lifetimes import StreamLifetimes
from gateway.edge.request_templates import RequestTemplates
from gateway.origin.pending_answer import answer_of
from gateway.protocol.http import forwarding
from gateway.protocol.http.forwarding import CONDITIONS, RequestSender
from gateway.protocol.http.paths import canonical_host
from gateway.protocol.origins.edge_target import catch_up
from gateway.protocol.streams.offsets import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from multidict import MultiMapping

    from gateway.access.operations import Need
    from gateway.edge.origin_guard import OriginGuard
    from gateway.origin.client import Origin
    from gateway.origin.whole_answer import AnyAnswer
    from gateway.protocol.http.identity import IdentityHeaders
    from gateway.protocol.origins.edge_target import EdgeCatchUp, EdgeRead

# The usual members of a Connection header; any other names a field that is not passed on.
_CONNECTION_NAMES = frozenset({"", "close", "keep-alive", "upgrade", "te", "http2-settings"})


class OriginRequests:
    """The reads that one route sends to its origin, each with the key of its cached responses.

    With a `guard` the origin decides who may read, and the guard is notified of its decisions.
    """

    def __init__(self, origin: Origin, identity: IdentityHeaders, via: str, scheme: str) -> None:
        self._origin = origin
        self.identity = identity
        self.via = via
        self.scheme = scheme
        self.guard: OriginGuard | None = None
        self.lifetimes = StreamLifetimes()
        self.templates = RequestTemplates(self)
        self._secret = secrets.token_bytes(32)

    def headers_for_origin(
        self, method: str, target: str, headers: MultiMapping[str]
    ) -> MultiMapping[str]:
        """Return the headers of a request without credentials that are not for the origin.

        An origin that decides who may read gets all of them, also a token from the query.
        """
        if self.guard is None:
            return self.identity.without_cookie(headers)
        return with_token(headers, request_credential(method, target, headers).token)

    def cache_request(
        self, headers: MultiMapping[str], sender: RequestSender, read: EdgeCatchUp
    ) -> CacheRequest:
        """Return a GET with its cache key; `headers` are those that the origin may have."""
        headers = forwarding.without_query_of_referer(headers)  # which Vary may put into a key
        dropped = self.identity.dropped
        is_plain = dropped.isdisjoint(map(str.lower, headers)) if dropped else True
        # A field that is not passed on selects no variant, and makes no response one reader's own.
        if not (is_plain and forwarding.hop_names(headers) <= _CONNECTION_NAMES):
            headers = forwarding.end_to_end(headers, dropped)
        coding = ""
        if "Accept-Encoding" in headers:
            coding = normalised("accept-encoding", headers)
        identifying_names = self.identity.identifying_names(headers)
        # For anonymous reads the origin need not know the page: this gateway adds the CORS fields.
        is_ones_own = identifying_names and self.guard is None
        page = frozenset() if is_ones_own else frozenset({"origin"})
        fields = forwarding.request_fields(
            headers,
            sender,
            self.via,
            drop=CONDITIONS | dropped | page | {"accept-encoding"},
            keyed=identifying_names,
        )
        fields["Accept-Encoding"] = coding or "identity"
        host = canonical_host(headers.get("Host", ""))
        who: Hashable = tuple((name, tuple(headers.getall(name))) for name in identifying_names)
        admitted_as = ""
        if self.guard is not None:
            admitted_as, who = self._hashed((host, read.path, read.others, who)), ()
            headers = self.guard.stripped(headers)
        return CacheRequest(
            host,
            read,
            headers,
            fields,
            self._hashed(who) if who else "",
            coding,
            self.lifetimes.of(read.path),
            admitted_as,
        )

    def _hashed(self, identity: Hashable) -> str:
        """Return a keyed hash that tells one identity from others."""
        return blake2b(repr(identity).encode(), key=self._secret, digest_size=16).hexdigest()

    def permission_request(
        self,
        parse: Callable[[str], EdgeRead],
        headers: MultiMapping[str],
        token: str | None,
        need: Need,
    ) -> CacheRequest:
        """Return the request by which the origin is asked whether a client may read a stream."""
        read = parse(f"{need.path}?{need.query}" if need.query else need.path)
        headers = with_token(headers, token)
        named = canonical_host(headers.get("Host", ""))
        beginning = catch_up(read, BEGINNING)
        request = self.cache_request(headers, RequestSender("", self.scheme, named), beginning)
        return request.plain(self.identity)

    async def head(self, request: CacheRequest) -> AnyAnswer:
        """Return the origin's response to a HEAD of the stream that a client wants to read."""
        others = "&".join(request.read.others)
        target = f"{request.path}?{others}" if others else request.path
        return await self._origin.send("HEAD", target, request.fields)

    def send(
        self, request: CacheRequest, validators: list[tuple[str, str]]
    ) -> Awaitable[AnyAnswer]:
        """Send a read to the origin, with the `validators` of cached responses, if any."""
        fields, block = request.fields, request.block
        if validators:
            fields, block = fields.copy(), None
            fields.extend(validators)
        sent = self._origin.sent("GET", request.read.target, fields, block=block)
        return sent if self.guard is None else self._note_status(request, sent)

    async def _note_status(self, request: CacheRequest, sent: Awaitable[AnyAnswer]) -> AnyAnswer:
        """Return the origin's response, after the guard has been notified of its status."""
        answer = await answer_of(sent)
        assert self.guard is not None, "it decides"
        self.guard.note_status(request.admitted_as, answer.status)
        return answer
