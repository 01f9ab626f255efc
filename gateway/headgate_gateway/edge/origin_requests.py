"""The requests that a route sends to its origin, and the check before the first multi-append."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from headgate_gateway.access.reader_keys import PARAMETER
from headgate_gateway.edge.followed.origin_reads import PASSING
from headgate_gateway.errors import HeadgateError, NotOffered, OriginBusy
from headgate_gateway.origin.requests import OriginRequest, field_block
from headgate_gateway.protocol.bodies.multi_append import is_multi
from headgate_gateway.protocol.http import forwarding
from headgate_gateway.protocol.http.forwarding import CONDITIONS, RequestSender
from headgate_gateway.protocol.http.header_names import MULTI
from headgate_gateway.protocol.http.paths import canonical_host, dropping
from headgate_gateway.rules.cached_response import CacheRequest
from headgate_gateway.rules.directives import again_s, normalised
from headgate_gateway.rules.edge_target import parse_edge_target, plain_catch_up
from headgate_gateway.rules.followed import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from multidict import CIMultiDict, MultiMapping

    from headgate_gateway.access.contract import RouteAccess
    from headgate_gateway.origin.answer import AnswerReceiver, OriginAnswer
    from headgate_gateway.origin.client import Origin, SentRequest
    from headgate_gateway.protocol.http.forwarding import IdentityHeaders
    from headgate_gateway.protocol.requests import CatchUp, Read
    from headgate_gateway.protocol.streams.state import Lifetime
    from headgate_gateway.telemetry.metrics import Sample

# The usual members of a Connection header; any other names a field that is not passed on.
_CONNECTION_NAMES = frozenset({"", "close", "keep-alive", "upgrade", "te", "http2-settings"})
PAGE = frozenset({"origin"})  # the fields with the page that a reader is on
MAX_LIFETIMES = 10_000  # streams remembered: about 3 MB; all others have the longest lifetime
REMEMBERED_TARGETS = 4096  # parsed; a thousand viewers of a stream send the same few

REFUSALS = frozenset({401, 403})  # of a client, whether or not there is a stream

# Methods whose responses say whether the origin knows multi-appends.
TELLS_OF_MULTI = frozenset({"HEAD", "POST", "PUT"})
# Statuses of the HEAD that settle nothing: a client that may only write has learned elsewhere that
# the origin knows multi-appends, and for any other client the origin refuses the append, too.
MULTI_UNSETTLED = frozenset({401, 403, 404})
NO_MULTI = f"the origin does not know multi-appends: append each message by itself, without {MULTI}"
MULTI_UNSAID = (
    "the origin does not say whether it knows multi-appends: append each message by itself, "
    f"without {MULTI}"
)


def dropped_query(drop_query: tuple[str, ...], *, has_reader_keys: bool) -> tuple[str, ...]:
    """Return the query parameters of a route that its origin does not get."""
    # A reader key is for the caches in front of this gateway.
    return (*drop_query, PARAMETER) if has_reader_keys else drop_query


class EdgeTargets:
    """The parser of one route's targets, without `drop_query` and without reader keys.

    `parse` returns the read that a target asks for, or the error that it means; the latest results
    are remembered.
    """

    def __init__(self, drop_query: tuple[str, ...], *, has_reader_keys: bool) -> None:
        self.drop_query = drop_query
        self._dropped = dropped_query(drop_query, has_reader_keys=has_reader_keys)
        self._drops = dropping(self._dropped)
        self.parse = lru_cache(REMEMBERED_TARGETS)(self._parse)

    def _parse(self, target: str) -> Read | HeadgateError:
        try:
            if self._drops is None or self._drops.search(target) is None:
                read = plain_catch_up(target)
                if read is not None:
                    return read
            return parse_edge_target(target, self._dropped)
        except HeadgateError as error:
            return error.with_traceback(None)


class StreamLifetimes:
    """The lifetimes of streams whose creation passed through: no copy may outlive its stream.

    The least recently created are forgotten first.
    """

    def __init__(self) -> None:
        self.by_path: OrderedDict[str, Lifetime] = OrderedDict()

    def created(self, path: str, lifetime: Lifetime) -> None:
        """Note the lifetime of a stream that was created or confirmed at `path`."""
        self.by_path.pop(path, None)
        if lifetime != FOREVER:
            self.by_path[path] = lifetime
        if len(self.by_path) > MAX_LIFETIMES:
            self.by_path.popitem(last=False)


class OriginRequests:
    """The reads that one route sends to its origin, each with the key of its cached responses.

    A subclass may let the origin decide who may read.
    """

    # The fields of PAGE that are withheld for readers that identify themselves: a response is for
    # one of them. For all others the origin need not know the page: this gateway adds CORS fields.
    page_of_identified: frozenset[str] = frozenset()

    are_reusable = True  # reads with equal fields send equal requests, but for their streams

    def __init__(self, origin: Origin, identity: IdentityHeaders, via: str, scheme: str) -> None:
        self._origin = origin
        self.identity = identity
        self.via = via
        self.scheme = scheme
        self.lifetimes = StreamLifetimes()
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

    def on_refusal(self, read: Read, headers: MultiMapping[str], sent: MultiMapping[str]) -> None:
        """Take a 401 or 403 of the origin to a request that was passed on with the fields `sent`.

        `headers` are those of the client.
        """

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
        self, headers: MultiMapping[str], sender: RequestSender, read: CatchUp
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
        identity, admitted_as, headers = self._reader(host, read, headers, who)
        return CacheRequest(
            host,
            read,
            headers,
            fields,
            identity,
            coding,
            self.lifetimes.by_path.get(read.path, FOREVER),
            admitted_as,
        )

    def _reader(
        self, _host: str, _read: CatchUp, headers: MultiMapping[str], who: tuple[object, ...]
    ) -> tuple[str, str, MultiMapping[str]]:
        """Return the reader `who` has sent these fields that identify it, if any.

        That is its identity and whom it is admitted as, both hashed, and the headers that select
        among cached responses.
        """
        return self._hashed(who) if who else "", "", headers

    def _hashed(self, identity: Hashable) -> str:
        """Return a keyed hash that tells one identity from others."""
        return blake2b(repr(identity).encode(), key=self._secret, digest_size=16).hexdigest()

    def send(
        self, request: CacheRequest, validators: Sequence[tuple[str, str]], receiver: AnswerReceiver
    ) -> SentRequest:
        """Send a read to the origin, with the `validators` of cached responses, if any."""
        block = request.block or field_block(request.fields)
        for name, value in validators:
            block += f"{name}: {value}\r\n".encode("utf-8", "surrogateescape")
        return self._origin.start(OriginRequest("GET", request.read.target, block), receiver)

    def open(self) -> None:
        """Start what the requests need beside the origin; nothing here."""

    async def close(self) -> None:
        """Stop it."""

    def samples(self, _prefix: str) -> Iterator[Sample]:
        """Yield its metrics, of which there are none here."""
        yield from ()


class MultiAppendSupport:
    """An origin's latest word on whether it knows multi-appends, asked for before the first one."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self.is_known = False

    def note_response(self, method: str, answer: OriginAnswer) -> None:
        """Note what a response says of multi-appends."""
        if method in TELLS_OF_MULTI and answer.status < 300:
            self.is_known = offers(answer.headers)

    async def check(self, method: str, target: str, fields: CIMultiDict[str]) -> None:
        """Raise an error if the request is a multi-append and the origin may not know those.

        The error is one of `_refusal`, or BadRequest if the request's field is not a single `true`.
        """
        if method != "POST" or not is_multi(fields) or self.is_known:
            return
        head_fields = fields.copy()
        head_fields.pop("Content-Length", None)
        answer = await self._origin.send("HEAD", target, head_fields)
        answer.release()
        self.note_response("HEAD", answer)
        if not self.is_known and answer.status not in MULTI_UNSETTLED:
            raise _refusal(answer)


def offers(headers: MultiMapping[str]) -> bool:
    """Return whether a response with these headers says that its origin knows multi-appends."""
    return headers.get(MULTI, "").lower() == "true"


def _refusal(answer: OriginAnswer) -> HeadgateError:
    """Return OriginBusy if the question may be repeated, NotOffered if that is of no use."""
    status = answer.status
    if status < 300:
        return NotOffered(NO_MULTI)
    if status != 501 and (status >= 500 or status in PASSING):
        says = f"the origin answers {status} to the HEAD by which it is asked for multi-appends"
        return OriginBusy(says, again_s(answer.headers))
    return NotOffered(MULTI_UNSAID)
