"""What follows from an answer to a request that was passed on: to caches, feeds and the client."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from gateway.access.credentials import READING
from gateway.cache.rules import conditional, policy
from gateway.cache.rules.cached_response import no_store
from gateway.cache.rules.directives import age_of
from gateway.cache.rules.private_fields import make_private
from gateway.errors import BadRequest
from gateway.origin.whole_answer import WholeAnswer
from gateway.protocol import http1
from gateway.protocol.http import cache_status, forwarding
from gateway.protocol.http.header_names import FORKED_FROM, NEXT_OFFSET, READER_KEY
from gateway.protocol.http.paths import canonical_path
from gateway.protocol.http.target import canonical_target, split
from gateway.protocol.origins import followed, repair
from gateway.protocol.requests import is_closing, parse_lifetime
from gateway.protocol.streams.state import Lifetime
from gateway.runtime.answer import Relayed, RouteAnswer
from gateway.runtime.writes import Write

if TYPE_CHECKING:
    from multidict import CIMultiDict, MultiMapping

    from gateway.edge.followed.doubts import Tails
    from gateway.edge.route import EdgeRoute
    from gateway.origin.whole_answer import AnyAnswer
    from gateway.protocol.http.forwarding import RequestSender
    from gateway.protocol.origins.edge_target import EdgeRead
    from gateway.runtime.context import Context

# How long a write that its client has left may still take. Most origins answer within it, so that
# what the write has done is known; then its place at the origin is free for those who wait.
LEFT_WRITE_S = 1.0
_UNSURE = frozenset({502, 504})  # from a gateway nearer to the origin
_GONE = frozenset({404, 410})
_TELL_THE_TAIL = frozenset({"HEAD", "POST", "PUT"})


class PassedOn(NamedTuple):
    """A request as its client made it, to be passed on to an origin.

    The client reaches this server at `base_url`, and may be sent the reader key for the path
    `key_of`. `tails` are the ends of the streams followed at its path when it was sent.
    """

    method: str
    headers: MultiMapping[str]
    read: EdgeRead
    base_url: str
    key_of: str | None = None
    tails: Tails = ()


class PassingOn:
    """Tells the route, and other parts of the gateway, what a write has changed."""

    def __init__(self, shared: Context) -> None:
        self._shared = shared

    def is_unsure(self, passed: PassedOn, route: EdgeRoute) -> None:
        """Invalidate everything that an unanswered write may have changed."""
        if policy.invalidates(passed.method, 200):
            self.wrote(route, Write(prefix=route.prefix, path=passed.read.path))
            self._purge(passed, route, HTTPStatus.BAD_GATEWAY)

    async def completed(
        self,
        passed: PassedOn,
        route: EdgeRoute,
        sent: MultiMapping[str],
        answer: AnyAnswer,
    ) -> RouteAnswer:
        """Return the answer to a request with the fields `sent` as its client is told it.

        Raises OriginBroken for an answer that the request did not ask for.
        """
        if passed.method in READING:
            conditional.check_asked_for(answer.status, sent)
        route.multi_append.note_response(passed.method, answer)
        try:
            lacked = await route.missing_fields(passed.method, passed.read, sent, answer)
        except asyncio.CancelledError:  # its client has left
            self.is_unsure(passed, route)
            raise
        return self.answered(passed, route, answer, lacked)

    def answered(
        self,
        passed: PassedOn,
        route: EdgeRoute,
        answer: AnyAnswer,
        lacked: dict[str, str],
    ) -> RouteAnswer:
        """The same, where it is known what the answer has `lacked`."""
        told = passed_back(passed, route, answer, lacked)
        self._compare(passed, route, answer, told.get(NEXT_OFFSET))
        self._purge(passed, route, answer.status)
        if policy.invalidates(passed.method, answer.status):
            self.wrote(route, _write(passed, route, answer))
            for target in policy.invalidated_also(passed.base_url + passed.read.target, told):
                with contextlib.suppress(BadRequest):  # then nothing can be kept under it
                    path, _ = split(canonical_target(target))
                    self.wrote(route, Write(prefix=route.prefix, path=path))
        elif _tells_the_end(passed, route, answer) or _is_unsure(passed, answer):
            hidden = not _is_unsure(passed, answer)
            self.wrote(route, Write(prefix=route.prefix, path=passed.read.path, hidden=hidden))
        return relayed(passed, answer, told)

    def wrote(self, route: EdgeRoute, write: Write) -> None:
        """Have all copies forgotten that a write has made old."""
        route.invalidate(write)
        self._shared.announce(write)

    def _compare(
        self, passed: PassedOn, route: EdgeRoute, answer: AnyAnswer, end: str | None
    ) -> None:
        """Doubt followed streams of which an answer shows less than is known."""
        if passed.method == "PUT" and answer.status == HTTPStatus.CREATED:
            route.feeds.doubts.replaced(passed.read.path, passed.tails)
        if answer.status < 300 and end is not None and passed.method in _TELL_THE_TAIL:
            route.feeds.doubts.answered(passed.read.path, passed.tails, end)

    def _purge(self, passed: PassedOn, route: EdgeRoute, status: int) -> None:
        """Have caches in front forget a stream that has ended or begun, or may have.

        Whether one that begins is the first at its path only the origin knows.
        """
        told = {"PUT": status == 201, "DELETE": status < 400 or status in _GONE}
        if passed.method in told and (told[passed.method] or status in _UNSURE):
            self._shared.purge(route.prefix, passed.read.path)


def passed_on(
    route: EdgeRoute, headers: MultiMapping[str], sender: RequestSender
) -> CIMultiDict[str]:
    """The fields of a request for the origin; `headers` are those that it is told."""
    headers = forwarding.without_query_of_referer(headers)
    fields = forwarding.request_fields(
        headers, sender, route.requests.via, drop=route.identity.withheld
    )
    is_admitted_here = route.access.guard is not None and route.requests.guard is None
    # What an origin knows its users by it has to see, unless it is not to know them.
    forwarding.drop_renames(fields, None if is_admitted_here else route.identity.has)
    return fields


def passed_back(
    passed: PassedOn,
    route: EdgeRoute,
    answer: AnyAnswer,
    lacked: dict[str, str],
) -> CIMultiDict[str]:
    """The fields of an answer as the client is told them, with what it `lacked`.

    With the reader key of a path, where the client may be told it.
    """
    fields = forwarding.response_fields(answer.headers, route.requests.via)
    fields.update(lacked)
    if answer.status >= 400:
        no_store(fields)
    elif passed.method != "GET":
        repair.of_no_read(fields)
    forwarding.relocate(fields, route.origin.location, passed.base_url)
    if route.access.is_private:
        make_private(fields)
    keys = route.access.reader_keys
    if keys is not None and passed.key_of is not None and answer.status < 400:
        fields[READER_KEY] = keys.of(passed.key_of)
    return fields


def relayed(passed: PassedOn, answer: AnyAnswer, fields: CIMultiDict[str]) -> RouteAnswer:
    """What the origin says, its body as it comes."""
    age = int(age_of(fields))
    for name in cache_status.OF_THE_ANSWER:
        fields.popall(name, None)
    head = http1.status_line(answer.status) + http1.field_lines(fields.items())
    why = "bypass" if passed.method == "GET" else "method"
    cache = cache_status.lines("BYPASS", f"fwd={why}; fwd-status={answer.status}", age=age)
    relayed = Relayed(
        answer.status,
        head,
        answer.body if isinstance(answer, WholeAnswer) else answer,
        http1.content_length(answer.headers.get("Content-Length")),
        "Date" not in fields,
        "Access-Control-Allow-Origin" not in fields,
    )
    return RouteAnswer(relayed, cache)


def _write(passed: PassedOn, route: EdgeRoute, answer: AnyAnswer) -> Write:
    """What an accepted write has changed."""
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
    """The path of the stream that a fork is made of (section 4.2)."""
    source = headers.get(FORKED_FROM)
    return None if source is None else canonical_path(source)


def _tells_the_end(passed: PassedOn, route: EdgeRoute, answer: AnyAnswer) -> bool:
    """Whether nobody reads anything there any more; to somebody in particular it may be hidden.

    So it may be to anybody where the origin decides who may read.
    """
    return (
        answer.status in _GONE
        and passed.method in {"HEAD", "POST", "DELETE"}
        and route.requests.guard is None
        and not route.identity.tell(passed.headers)
    )


def _is_unsure(passed: PassedOn, answer: AnyAnswer) -> bool:
    """Whether a gateway nearer to the origin does not know if a write was done."""
    return answer.status in _UNSURE and policy.invalidates(passed.method, 200)


def _lifetime(passed: PassedOn, route: EdgeRoute, answer: AnyAnswer) -> Lifetime:
    """How long the origin lets a stream live that it has just accepted."""
    try:
        for headers in (answer.headers, passed.headers):
            lifetime = parse_lifetime(headers)
            if lifetime != followed.FOREVER:
                return lifetime
    except BadRequest:
        return Lifetime(ttl_s=0)  # it knows what it means, we do not, so nothing is kept
    source = fork_source(passed.headers)
    return followed.FOREVER if source is None else route.requests.lifetimes.of(source)
