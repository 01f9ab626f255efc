"""The requests that a route sends to its origin for readers, and how they are keyed."""

from __future__ import annotations

import secrets
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from gateway.edge.reads.stream_lifetimes import StreamLifetimes
from gateway.edge.request_templates import RequestTemplates
from gateway.edge.rules.cached_response import CacheRequest
from gateway.edge.rules.directives import normalised
from gateway.origin.requests import OriginRequest, field_block
from gateway.protocol.http import forwarding
from gateway.protocol.http.forwarding import CONDITIONS
from gateway.protocol.http.paths import canonical_host
from gateway.protocol.origins.followed import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from multidict import MultiMapping

    from gateway.origin.answer import AnswerReceiver, PendingRequest
    from gateway.origin.client import Origin
    from gateway.protocol.http.forwarding import RequestSender
    from gateway.protocol.http.identity import IdentityHeaders
    from gateway.protocol.origins.edge_target import EdgeCatchUp
    from gateway.runtime.route import RouteAccess
    from gateway.telemetry.metrics import Sample

# The usual members of a Connection header; any other names a field that is not passed on.
_CONNECTION_NAMES = frozenset({"", "close", "keep-alive", "upgrade", "te", "http2-settings"})
PAGE = frozenset({"origin"})  # the fields with the page that a reader is on


class KeyedReader(NamedTuple):
    """The reader of a request: its identity and whom it is admitted as, both hashed; its headers.

    The headers select among cached responses.
    """

    identity: str
    admitted_as: str
    headers: MultiMapping[str]


class OriginRequests:
    """The reads that one route sends to its origin, each with the key of its cached responses.

    A subclass may let the origin decide who may read.
    """

    # The fields of PAGE that are withheld for readers that identify themselves: a response is for
    # one of them. For all others the origin need not know the page: this gateway adds CORS fields.
    page_of_identified: frozenset[str] = frozenset()

    def __init__(self, origin: Origin, identity: IdentityHeaders, via: str, scheme: str) -> None:
        self._origin = origin
        self.identity = identity
        self.via = via
        self.scheme = scheme
        self.lifetimes = StreamLifetimes()
        # None where requests with the same fields have no request in common.
        self.templates: RequestTemplates | None = RequestTemplates(self)
        self._secret = secrets.token_bytes(32)

    def access(self, access: RouteAccess) -> RouteAccess:
        """Return the access to the route by its settings."""
        return access

    def headers_for_origin(
        self, _method: str, _target: str, headers: MultiMapping[str]
    ) -> MultiMapping[str]:
        """Return the headers of a request without credentials that are not for the origin."""
        return self.identity.without_cookie(headers)

    def passed_identity(self, *, is_guarded: bool) -> Callable[[str], bool] | None:
        """Return which fields of a passed request may identify its user to the origin.

        None means none of them, where a guard here has admitted the user.
        """
        return None if is_guarded else self.identity.has

    def may_conceal(self, headers: MultiMapping[str]) -> bool:
        """Return whether a 404 or 410 to a client may only conceal the stream from it."""
        return self.identity.identifies(headers)

    def who_shares(self, headers: MultiMapping[str]) -> tuple[str, str]:
        """Return who shares the response to a client, and the rule, in words."""
        names = self.identity.identifying_names(headers)
        if not names:
            return "everybody", "no header says who the reader is"
        return (
            f"this reader alone, unless the origin says public; known by {', '.join(names)}",
            "headers whose names say who somebody is are a keyed hash in the key, and are never "
            "shown",
        )

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
        page = self.page_of_identified if identifying_names else PAGE
        fields = forwarding.request_fields(
            headers,
            sender,
            self.via,
            drop=CONDITIONS | dropped | page | {"accept-encoding"},
            keyed=identifying_names,
        )
        fields["Accept-Encoding"] = coding or "identity"
        host = canonical_host(headers.get("Host", ""))
        who = tuple((name, tuple(headers.getall(name))) for name in identifying_names)
        reader = self._reader(host, read, headers, who)
        return CacheRequest(
            host,
            read,
            reader.headers,
            fields,
            reader.identity,
            coding,
            self.lifetimes.by_path.get(read.path, FOREVER),
            reader.admitted_as,
        )

    def _reader(
        self, _host: str, _read: EdgeCatchUp, headers: MultiMapping[str], who: tuple[object, ...]
    ) -> KeyedReader:
        """Return the reader `who` has sent these fields that identify it, if any."""
        return KeyedReader(self._hashed(who) if who else "", "", headers)

    def _hashed(self, identity: Hashable) -> str:
        """Return a keyed hash that tells one identity from others."""
        return blake2b(repr(identity).encode(), key=self._secret, digest_size=16).hexdigest()

    def send(
        self, request: CacheRequest, validators: Sequence[tuple[str, str]], receiver: AnswerReceiver
    ) -> PendingRequest:
        """Send a read to the origin, with the `validators` of cached responses, if any."""
        block = request.block or field_block(request.fields)
        for name, value in validators:
            block += f"{name}: {value}\r\n".encode()
        return self._origin.start(OriginRequest("GET", request.read.target, block), receiver)

    def open(self) -> None:
        """Start what the requests need beside the origin; nothing here."""

    async def close(self) -> None:
        """Stop it."""

    def samples(self, _prefix: str) -> Iterator[Sample]:
        """Yield its metrics, of which there are none here."""
        yield from ()
