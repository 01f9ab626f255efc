"""The steps by which a request for a stream of an HTTP origin would be answered, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.edge.followed.known_state import POLL
from headgate_gateway.edge.reads import decision
from headgate_gateway.errors import BadRequest
from headgate_gateway.features.questions.streams import ExplainStep
from headgate_gateway.protocol.http.forwarding import RequestSender
from headgate_gateway.protocol.http.paths import canonical_host
from headgate_gateway.protocol.requests import CatchUp, Live, LongPoll
from headgate_gateway.protocol.streams.offsets import BEGINNING, NOW
from headgate_gateway.rules import edge_target
from headgate_gateway.telemetry.access_log import LONGEST_SHOWN
from headgate_gateway.telemetry.logs import as_utf8

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from headgate_gateway.edge.followed.followed_stream import FollowedStream
    from headgate_gateway.edge.reads.decision import Use
    from headgate_gateway.edge.reads.variants import Variant
    from headgate_gateway.edge.route import EdgeRoute
    from headgate_gateway.features.console.inspected_streams import ExplainedRequest
    from headgate_gateway.protocol.requests import Read
    from headgate_gateway.rules.cached_response import CacheRequest

NEXT = "The next answer"
_OF_FEEDS = "what live readers were told answers it"
_OUTCOMES: dict[Use, tuple[str, str]] = {
    decision.HIT: ("HIT", "a kept answer is fresh"),
    decision.STALE: (
        "STALE",
        "a kept answer is given out while it is validated (stale-while-revalidate)",
    ),
    decision.STALE_ON_ERROR: ("STALE", "the origin fails, or has lately (stale-if-error)"),
    decision.RECENT_ON_ERROR: ("STALE", f"the origin fails; {_OF_FEEDS} (stale-if-error)"),
    decision.RECENT: ("COLLAPSED", _OF_FEEDS),
    decision.REFUSE: ("504 not_cached", "only-if-cached, and no fresh answer is kept"),
    decision.PASS: ("BYPASS", "only the origin can answer it, and the answer is not kept"),
    decision.VALIDATE: (
        "REVALIDATED",
        "the origin is asked whether the kept answer stands; if it does not, MISS",
    ),
    decision.MISS: ("MISS", "nothing that is kept answers it: the origin is asked"),
}


async def steps(route: EdgeRoute, client_request: ExplainedRequest) -> AsyncIterator[ExplainStep]:
    """Yield the steps of a request, from its canonical form to its response.

    Raises HeadgateError.
    """
    if not client_request.headers.get("Host"):
        raise BadRequest("name the host, by a whole URL or a Host header: answers are kept by it")
    read = route.parse(client_request.target)
    yield ExplainStep("Canonical form", read.target, _rule_of_form(route))
    yield ExplainStep(
        "What is asked", _what_is_asked(client_request.method, read), "section 5 of the protocol"
    )
    if client_request.method not in {"GET", "HEAD"} or not (
        isinstance(read, CatchUp) or client_request.method == "GET"
    ):
        rule = "the cache has no part in it, but forgets what an accepted write makes old"
        yield ExplainStep(NEXT, "BYPASS", rule)
        return
    catching_up = read if isinstance(read, CatchUp) else _beginning(client_request, read)
    named = canonical_host(client_request.headers.get("Host", ""))
    headers = route.requests.headers_for_origin(
        client_request.method, client_request.target, client_request.headers
    )
    sender = RequestSender("", route.requests.scheme, named)
    request = route.requests.cache_request(headers, sender, catching_up)
    who_shares = route.requests.who_shares(client_request.headers)
    yield ExplainStep("Who shares the answer", *who_shares)
    if not isinstance(read, CatchUp):
        request = request.plain(route.identity)
    stream = route.feeds.read_by(request)
    if not isinstance(read, CatchUp):
        yield _followed(stream)
        yield _of_live(read, stream, request)
        return
    yield ExplainStep("Cache key", " ".join(request.key), "the host and the canonical target")
    now = route.clock()
    decided = route.cache.decide(client_request.method, request, stream, now, only_looks=True)
    yield _step_of_variants(decided.variants, now)
    yield _followed(stream)
    yield _of_decision(decided.use, is_being_fetched=route.cache.is_being_fetched(request))


def _rule_of_form(route: EdgeRoute) -> str:
    drop = (
        [f"{', '.join(route.targets.drop_query)} (drop_query)"] if route.targets.drop_query else []
    )
    if route.access.reader_keys is not None:
        drop.append("a reader key")
    rule = "the path and the query in one percent-encoding, the query sorted by its keys"
    return f"{rule}, without {' and '.join(drop)}" if drop else rule


def _beginning(client_request: ExplainedRequest, read: Live) -> CatchUp:
    """Return the catch-up read with which a live reader begins."""
    resumed = edge_target.resumed(read, client_request.headers)
    return edge_target.catch_up(resumed, edge_target.start_of(resumed))


def _what_is_asked(method: str, read: Read) -> str:
    if method not in {"GET", "HEAD"}:
        return f"{method}: the origin itself"
    start = edge_target.start_of(read)
    where = {BEGINNING: "from the beginning", NOW: "from the tail"}.get(
        start, f"from the offset {start}"
    )
    if isinstance(read, CatchUp):
        return f"what there is {where}" if read.is_clear else "what only the origin understands"
    return f"a long-poll {where}" if isinstance(read, LongPoll) else f"events {where}"


def _step_of_variants(variants: Sequence[Variant], now: float) -> ExplainStep:
    title, rule = "What is kept", "RFC 9111 section 4.2, RFC 5861"
    if not variants:
        return ExplainStep(title, "no answer", rule)
    return ExplainStep(title, "; ".join(_freshness(variant, now) for variant in variants), rule)


def _freshness(variant: Variant, now: float) -> str:
    stored = variant.stored
    varies = as_utf8(", ".join(name for name, _ in stored.vary), LONGEST_SHOWN)
    of = f"{stored.status}, {len(variant.cached.body)} bytes"
    if varies:
        of += f", varies with {varies}"
    if stored.is_fresh(now):
        return f"{of}: fresh, {stored.age(now)} s old of {stored.lifetime:.0f}"
    stale_s = stored.lifetime + stored.stale_while_revalidate
    if stored.is_within(stale_s, now):
        return f"{of}: stale, {stored.age(now)} s old, and given out up to {stale_s:.0f} s"
    return f"{of}: stale, {stored.age(now)} s old of {stored.lifetime:.0f}"


def _followed(stream: FollowedStream | None) -> ExplainStep:
    title, rule = "Whether it is followed", "a stream with live readers is polled once for them all"
    if stream is None:
        return ExplainStep(title, "no", rule)
    if stream.feed.lost is not None:
        return ExplainStep(title, f"yes, but the origin fails: {stream.feed.lost.detail}", rule)
    known = "known to be its tail" if stream.state.certainty == POLL else "perhaps not its tail"
    return ExplainStep(title, f"yes, up to {stream.feed.tail}, {known}", rule)


def _of_live(read: Read, stream: FollowedStream | None, request: CacheRequest) -> ExplainStep:
    if stream is not None and stream.reaches(request.start):
        return ExplainStep(NEXT, "COLLAPSED", "the feed of the stream has what follows, or will")
    kind = "poll" if isinstance(read, LongPoll) else "reader"
    rule = (
        "the origin is read up to its tail, through the cache: what is there is a poll's answer; "
        f"else the {kind} waits in a feed, and its answer is COLLAPSED"
    )
    return ExplainStep(NEXT, "MISS" if isinstance(read, LongPoll) else "COLLAPSED", rule)


def _of_decision(use: Use, *, is_being_fetched: bool) -> ExplainStep:
    if is_being_fetched and use in decision.NEEDS_ORIGIN:
        return ExplainStep(NEXT, "COLLAPSED", "the origin is being asked for the same right now")
    return ExplainStep(NEXT, *_OUTCOMES[use])
