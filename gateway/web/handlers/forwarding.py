"""The effects of a forwarded request: on caches, on feeds, and the response to its client.

The handlers of routes to HTTP origins call this for writes, HEAD, and reads that bypass the cache.
"""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from gateway.access.credentials import READING
from gateway.edge.origin_requests import REFUSALS
from gateway.errors import BadRequest
from gateway.protocol import http1
from gateway.protocol.http import cache_status, forwarding
from gateway.protocol.http.forwarding import RequestSender
from gateway.protocol.http.header_names import CLOSED, FORKED_FROM, NEXT_OFFSET, READER_KEY
from gateway.protocol.http.paths import canonical_path, canonical_target, split
from gateway.protocol.requests import is_closing, parse_lifetime
from gateway.protocol.responses import Facts
from gateway.protocol.streams.state import Lifetime
from gateway.routes.exchange import RouteAnswer
from gateway.rules import followed, policy, repair
from gateway.rules.directives import again_s, age_of, check_asked_for
from gateway.rules.served_lifetimes import make_private
from gateway.runtime.quotas import peer_of
from gateway.runtime.write_journal import Write
from gateway.web.requests import request_head
from gateway.web.requests.request import exchange_of

if TYPE_CHECKING:
    from multidict import CIMultiDict, MultiMapping

    from gateway.edge.followed.followed_table import Tails
    from gateway.edge.route import EdgeRoute
    from gateway.origin.answer import OriginAnswer
    from gateway.protocol.requests import Read
    from gateway.routes.services import Services
    from gateway.web.requests.request import Request

# Seconds that a write may go on after its client has disconnected. Most origins answer in time, so
# that the outcome is known; then the connection to the origin is free for other requests.
LEFT_WRITE_S = 1.0
_UNSURE = frozenset({502, 504})  # from a gateway nearer to the origin
_GONE = frozenset({404, 410})
_WITH_TAIL = frozenset({"HEAD", "POST", "PUT"})


class ForwardedRequest(NamedTuple):
    """A client's request that is forwarded to an origin.

    The client reaches this server at `base_url`, and its response may carry the reader key for the
    path `key_of`. `tails` are the tails of the streams followed at its path when it was sent.
    """

    method: str
    headers: MultiMapping[str]
    read: Read
    base_url: str
    key_of: str | None = None
    tails: Tails = ()


def forwarded(request: Request, read: Read, tails: Tails) -> ForwardedRequest:
    """Return a request as its client made it, with what its answer may carry."""
    reader_key = read.path if exchange_of(request).sends_reader_key else None
    headers, base = request.headers, request_head.base_url(request)
    return ForwardedRequest(request.method, headers, read, base, reader_key, tails)


class ForwardingEffects:
    """The consequences of forwarded requests for the route's caches, feeds and other workers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def invalidate_unsure(self, passed: ForwardedRequest, route: EdgeRoute) -> None:
        """Invalidate everything that a write without a known outcome may have changed."""
        if policy.invalidates(passed.method, 200):
            self.announce_write(route, Write(prefix=route.prefix, path=passed.read.path))
            self._purge(passed, route, HTTPStatus.BAD_GATEWAY)

    async def complete(
        self,
        passed: ForwardedRequest,
        route: EdgeRoute,
        sent: MultiMapping[str],
        answer: OriginAnswer,
    ) -> RouteAnswer:
        """Return the response to a request that was forwarded with the fields `sent`.

        Raises OriginBroken for a 304 or 206 that the request did not ask for.
        """
        if passed.method in READING:
            check_asked_for(answer.status, sent)
        route.multi_append.note_response(passed.method, answer)
        if answer.status in REFUSALS:
            route.requests.on_refusal(passed.read, passed.headers, sent)
        try:
            lacked = await route.missing_fields(passed.method, passed.read, sent, answer)
        except asyncio.CancelledError:  # its client has disconnected
            self.invalidate_unsure(passed, route)
            raise
        return self.apply(passed, route, answer, lacked)

    def apply(
        self,
        passed: ForwardedRequest,
        route: EdgeRoute,
        answer: OriginAnswer,
        lacked: dict[str, str],
    ) -> RouteAnswer:
        """Apply an answer's consequences, and return it with the fields it `lacked`."""
        fields = fields_to_client(passed, route, answer, lacked)
        self._compare(passed, route, answer, fields.get(NEXT_OFFSET))
        self._purge(passed, route, answer.status)
        if policy.invalidates(passed.method, answer.status):
            self.announce_write(route, _write(passed, route, answer))
            for target in policy.invalidated_also(passed.base_url + passed.read.target, fields):
                with contextlib.suppress(BadRequest):  # a target that is invalid has nothing cached
                    path, _ = split(canonical_target(target))
                    self.announce_write(route, Write(prefix=route.prefix, path=path))
        elif _shows_deletion(passed, route, answer) or _is_unsure(passed, answer):
            hidden = not _is_unsure(passed, answer)
            self.announce_write(
                route, Write(prefix=route.prefix, path=passed.read.path, hidden=hidden)
            )
        elif route.observer is not None and _is_refusal(passed, answer):
            route.observer.on_refusal(passed.read.path)
        return relayed(passed, answer, fields)

    def announce_write(self, route: EdgeRoute, write: Write) -> None:
        """Invalidate the copies that a write has outdated, here and in other workers."""
        route.invalidate(write)
        if route.observer is not None:
            route.observer.on_write(write)
        self._services.announce(write)

    def _compare(
        self, passed: ForwardedRequest, route: EdgeRoute, answer: OriginAnswer, end: str | None
    ) -> None:
        """Doubt followed streams that an answer shows to be shorter than known, or replaced."""
        if passed.method == "PUT" and answer.status == HTTPStatus.CREATED:
            route.feeds.writes.on_replaced(passed.read.path, passed.tails)
        if answer.status < 300 and end is not None and passed.method in _WITH_TAIL:
            route.feeds.writes.note_answer(passed.read.path, passed.tails, end)

    def _purge(self, passed: ForwardedRequest, route: EdgeRoute, status: int) -> None:
        """Purge a stream from caches in front if it was deleted or created, or may have been.

        A created stream may replace an earlier one: only the origin knows.
        """
        succeeded = {"PUT": status == 201, "DELETE": status < 400 or status in _GONE}
        if passed.method in succeeded and (succeeded[passed.method] or status in _UNSURE):
            self._services.front_caches.purge(route.prefix, passed.read.path)


def sender_of(request: Request, scheme: str) -> RequestSender:
    """Return the sender of a request, for the forwarding fields."""
    return RequestSender(peer_of(request.transport) or "", scheme, request_head.host(request))


def fields_to_origin(
    request: Request, route: EdgeRoute, headers: MultiMapping[str]
) -> CIMultiDict[str]:
    """Return the fields of a forwarded request: those of its `headers` that the origin may see."""
    target, is_guarded = request_head.target(request), route.access.guard is not None
    return forwarding.request_fields(
        route.requests.headers_for_origin(request.method, target, headers),
        sender_of(request, request_head.scheme(request)),
        route.requests.via,
        drop=route.identity.withheld,
        is_allowed=route.requests.passed_identity(is_guarded=is_guarded),
    )


def fields_to_client(
    passed: ForwardedRequest,
    route: EdgeRoute,
    answer: OriginAnswer,
    lacked: dict[str, str],
) -> CIMultiDict[str]:
    """Return an answer's fields for the client, completed with those that it `lacked`.

    They have the reader key for `passed.key_of`, if there is one.
    """
    fields = forwarding.response_fields(answer.headers, route.requests.via)
    fields.update(lacked)
    if answer.status >= 400:
        repair.forbid_caching_error(fields)
    elif passed.method != "GET":
        repair.forbid_caching_tail(fields)
    forwarding.relocate(fields, route.origin.servers.location, passed.base_url)
    if route.access.is_private:
        make_private(fields)
    keys = route.access.reader_keys
    if keys is not None and passed.key_of is not None and answer.status < 400:
        fields[READER_KEY] = keys.of(passed.key_of)
    return fields


def relayed(
    passed: ForwardedRequest, answer: OriginAnswer, fields: CIMultiDict[str]
) -> RouteAnswer:
    """Return the origin's answer with these fields; its body is passed on while it arrives."""
    age = int(age_of(fields))
    for name in cache_status.OF_THE_ANSWER:
        fields.popall(name, None)
    status, closed = answer.status, repair.is_true(fields, CLOSED)
    why = "bypass" if passed.method == "GET" else "method"
    cache = cache_status.cache_use("BYPASS", f"fwd={why}; fwd-status={status}", age=age)
    length = http1.content_length(answer.headers.get("Content-Length"))
    is_end: bool | None = closed and status != 304
    if is_end and status != 204 and (length is None or length > repair.EMPTY_BYTES):
        is_end = None if length is None else False
    return RouteAnswer(
        status,
        http1.field_lines(fields.items()),
        answer if answer.body is None else answer.body,
        cache,
        Facts(
            fields.get(NEXT_OFFSET, ""),
            closed,
            is_end,
            again_s(fields),
            "Access-Control-Allow-Origin" in fields,
        ),
        is_relayed=True,
        has_date="Date" in fields,
        length=length,
    )


def _write(passed: ForwardedRequest, route: EdgeRoute, answer: OriginAnswer) -> Write:
    """Return the changes of an accepted write."""
    tail = answer.headers.get(NEXT_OFFSET)
    return Write(
        prefix=route.prefix,
        path=passed.read.path,
        only_grown=passed.method == "POST" and tail is not None,
        is_new=passed.method == "PUT" and answer.status == HTTPStatus.CREATED,
        deleted=passed.method == "DELETE" and answer.status < 300,
        created=_lifetime(passed, route, answer) if passed.method == "PUT" else None,
        tail=tail,
        closed=is_closing(answer.headers) or is_closing(passed.headers),
    )


def fork_source(headers: MultiMapping[str]) -> str | None:
    """Return the path of a fork's source stream, or None (protocol section 4.2)."""
    source = headers.get(FORKED_FROM)
    return None if source is None else canonical_path(source)


def _shows_deletion(passed: ForwardedRequest, route: EdgeRoute, answer: OriginAnswer) -> bool:
    """Return whether the answer shows that the stream is gone for all readers.

    A 404 or 410 to a client may only conceal the stream from it.
    """
    return (
        answer.status in _GONE
        and passed.method in {"HEAD", "POST", "DELETE"}
        and not route.requests.may_conceal(passed.headers)
    )


def _is_unsure(passed: ForwardedRequest, answer: OriginAnswer) -> bool:
    """Return whether a write may have been done: a gateway in between got no answer to it."""
    return answer.status in _UNSURE and policy.invalidates(passed.method, 200)


def _is_refusal(passed: ForwardedRequest, answer: OriginAnswer) -> bool:
    """Return whether a write was refused, and the answer does not show that its stream exists."""
    is_write = passed.method in {"POST", "PUT"}
    return is_write and answer.status >= 400 and answer.status != HTTPStatus.CONFLICT


def _lifetime(passed: ForwardedRequest, route: EdgeRoute, answer: OriginAnswer) -> Lifetime:
    """Return the lifetime of a stream that the origin has just created."""
    try:
        for headers in (answer.headers, passed.headers):
            lifetime = parse_lifetime(headers)
            if lifetime != followed.FOREVER:
                return lifetime
    except BadRequest:
        return Lifetime(ttl_s=0)  # an unknown form of lifetime: cache nothing
    source = fork_source(passed.headers)
    known = route.requests.lifetimes.by_path
    return followed.FOREVER if source is None else known.get(source, followed.FOREVER)
