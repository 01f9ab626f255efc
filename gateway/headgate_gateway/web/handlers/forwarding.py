"""The effects of a forwarded request: on caches, on feeds, and the response to its client.

The handlers of routes to HTTP origins call this for writes, HEAD, and reads that bypass the cache.
"""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.access.credentials import READING
from headgate_gateway.edge.origin_requests import REFUSALS
from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol import http1
from headgate_gateway.protocol.http import cache_status, forwarding
from headgate_gateway.protocol.http.forwarding import RequestSender
from headgate_gateway.protocol.http.header_names import CLOSED, FORKED_FROM, NEXT_OFFSET, READER_KEY
from headgate_gateway.protocol.http.paths import canonical_path, canonical_target, split
from headgate_gateway.protocol.requests import is_closing, parse_lifetime
from headgate_gateway.protocol.responses import Facts
from headgate_gateway.protocol.streams.state import Lifetime
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.rules import followed, policy, repair
from headgate_gateway.rules.directives import again_s, age_of, check_conditional_status
from headgate_gateway.rules.served_lifetimes import make_private
from headgate_gateway.runtime.quotas import peer_of
from headgate_gateway.runtime.write_journal import Write
from headgate_gateway.web.requests import request_head
from headgate_gateway.web.requests.request import exchange_of

if TYPE_CHECKING:
    from multidict import CIMultiDict, MultiMapping

    from headgate_gateway.edge.followed.followed_table import Tails
    from headgate_gateway.edge.route import EdgeRoute
    from headgate_gateway.origin.answer import OriginAnswer
    from headgate_gateway.protocol.requests import Read
    from headgate_gateway.web.requests.request import Request

# Seconds that a write may go on after its client has disconnected. Most origins answer in time, so
# that the outcome is known; then the connection to the origin is free for other requests.
LEFT_WRITE_S = 1.0
_UNSURE = frozenset({502, 504})  # from a gateway nearer to the origin
_GONE = frozenset({404, 410})
_WITH_TAIL = frozenset({"HEAD", "POST", "PUT"})


class ForwardedRequest(NamedTuple):
    """A client's request that is forwarded to an origin, and what its outcome changes.

    `tails` are the tails of the streams followed at its path when it was sent. The client reaches
    this server at `base_url`, and its response may carry the reader key for the path `key_of`.
    """

    route: EdgeRoute
    method: str
    headers: MultiMapping[str]
    read: Read
    tails: Tails = ()
    base_url: str = ""
    key_of: str | None = None

    def invalidate_unsure(self) -> None:
        """Invalidate everything that a write without a known outcome may have changed."""
        if policy.invalidates(self.method, 200):
            self.route.announce_write(Write(prefix=self.route.prefix, path=self.read.path))
            self._purge(HTTPStatus.BAD_GATEWAY)

    async def complete(self, sent: MultiMapping[str], answer: OriginAnswer) -> RouteAnswer:
        """Apply the consequences of an answer, and return the response.

        The request was forwarded with the fields `sent`. Raises OriginBroken for a 304 or 206 that
        these do not ask for.
        """
        route, read, status = self.route, self.read, answer.status
        if self.method in READING:
            check_conditional_status(status, sent)
        route.multi_append.note_response(self.method, answer)
        if status in REFUSALS:
            route.requests.on_refusal(read, self.headers, sent)
        try:
            lacked = await route.missing_fields(self.method, read, sent, answer)
        except asyncio.CancelledError:  # its client has disconnected
            self.invalidate_unsure()
            raise
        fields = self.fields_to_client(answer, lacked)
        writes, end = route.feeds.writes, fields.get(NEXT_OFFSET)
        if self.method == "PUT" and status == HTTPStatus.CREATED:
            writes.on_replaced(read.path, self.tails)
        if status < 300 and end is not None and self.method in _WITH_TAIL:
            writes.note_answer(read.path, self.tails, end)
        self._purge(status)
        if policy.invalidates(self.method, status):
            route.announce_write(self._write(answer))
            for target in policy.invalidated_also(self.base_url + read.target, fields):
                with contextlib.suppress(BadRequest):  # a target that is invalid has nothing cached
                    path, _ = split(canonical_target(target))
                    route.announce_write(Write(prefix=route.prefix, path=path))
        else:
            self._note_refusal(status)
        return relayed(self.method, answer, fields)

    def fields_to_client(self, answer: OriginAnswer, lacked: dict[str, str]) -> CIMultiDict[str]:
        """Return an answer's fields for the client, completed with those that it `lacked`."""
        route = self.route
        fields = forwarding.response_fields(answer.headers, route.requests.via)
        fields.update(lacked)
        if answer.status >= 400:
            repair.forbid_caching_error(fields)
        elif self.method != "GET":
            repair.forbid_caching_tail(fields)
        forwarding.relocate(fields, route.origin.servers.location, self.base_url)
        if route.access.is_private:
            make_private(fields)
        keys = route.access.reader_keys
        if keys is not None and self.key_of is not None and answer.status < 400:
            fields[READER_KEY] = keys.of(self.key_of)
        return fields

    def _note_refusal(self, status: int) -> None:
        """Invalidate what a refusal of a write may still have changed."""
        route, path = self.route, self.read.path
        # A gateway in between got no answer to a write, which may have been carried out.
        is_unsure = status in _UNSURE and policy.invalidates(self.method, 200)
        shows_deletion = (
            status in _GONE
            and self.method in {"HEAD", "POST", "DELETE"}
            # A 404 or 410 to a client may only conceal the stream from it.
            and not route.requests.may_conceal(self.headers)
        )
        if is_unsure or shows_deletion:
            route.announce_write(Write(prefix=route.prefix, path=path, hidden=not is_unsure))

    def _purge(self, status: int) -> None:
        """Purge a stream from caches in front if it was deleted or created, or may have been.

        A created stream may replace an earlier one: only the origin knows.
        """
        succeeded = {"PUT": status == 201, "DELETE": status < 400 or status in _GONE}
        if self.method in succeeded and (succeeded[self.method] or status in _UNSURE):
            self.route.services.front_caches.purge(self.route.prefix, self.read.path)

    def _write(self, answer: OriginAnswer) -> Write:
        """Return the changes of an accepted write."""
        tail = answer.headers.get(NEXT_OFFSET)
        return Write(
            prefix=self.route.prefix,
            path=self.read.path,
            only_grown=self.method == "POST" and tail is not None,
            is_new=self.method == "PUT" and answer.status == HTTPStatus.CREATED,
            deleted=self.method == "DELETE" and answer.status < 300,
            created=self._lifetime(answer) if self.method == "PUT" else None,
            tail=tail,
            closed=is_closing(answer.headers) or is_closing(self.headers),
        )

    def _lifetime(self, answer: OriginAnswer) -> Lifetime:
        """Return the lifetime of a stream that the origin has just created."""
        try:
            for headers in (answer.headers, self.headers):
                lifetime = parse_lifetime(headers)
                if lifetime != followed.FOREVER:
                    return lifetime
        except BadRequest:
            return Lifetime(ttl_s=0)  # an unknown form of lifetime: cache nothing
        source = fork_source(self.headers)
        known = self.route.requests.lifetimes.by_path
        return followed.FOREVER if source is None else known.get(source, followed.FOREVER)


def forwarded(request: Request, route: EdgeRoute, read: Read, tails: Tails) -> ForwardedRequest:
    """Return a request as its client made it, with what its answer may carry."""
    reader_key = read.path if exchange_of(request).sends_reader_key else None
    headers, base = request.headers, request_head.base_url(request)
    return ForwardedRequest(route, request.method, headers, read, tails, base, reader_key)


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


def relayed(method: str, answer: OriginAnswer, fields: CIMultiDict[str]) -> RouteAnswer:
    """Return the origin's answer with these fields; its body is passed on while it arrives."""
    age = int(age_of(fields))
    for name in cache_status.OF_THE_ANSWER:
        fields.popall(name, None)
    status, closed = answer.status, repair.is_true(fields, CLOSED)
    why = "bypass" if method == "GET" else "method"
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


def fork_source(headers: MultiMapping[str]) -> str | None:
    """Return the path of a fork's source stream, or None (protocol section 4.2)."""
    source = headers.get(FORKED_FROM)
    return None if source is None else canonical_path(source)
