"""The requests to an origin that decides who may read, and those by which it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import CIMultiDict
from typing_extensions import override

from headgate_gateway.access.credentials import request_credential, with_token
from headgate_gateway.edge.origin_requests import PAGE, OriginRequests, dropped_query
from headgate_gateway.features.origin_auth.guard import GuardTimes, OriginGuard
from headgate_gateway.origin.answer import AnswerReceiver
from headgate_gateway.protocol.http.forwarding import RequestSender
from headgate_gateway.protocol.http.paths import canonical_host
from headgate_gateway.protocol.streams.offsets import BEGINNING
from headgate_gateway.rules.edge_target import catch_up, parse_edge_target
from headgate_gateway.telemetry.metrics import Sample, counter, gauge

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from multidict import MultiMapping

    from headgate_gateway.access.contract import RouteAccess
    from headgate_gateway.access.operations import Need
    from headgate_gateway.access.principal import Principal
    from headgate_gateway.origin.answer import OriginAnswer
    from headgate_gateway.origin.client import Origin, SentRequest
    from headgate_gateway.protocol.http.forwarding import IdentityHeaders
    from headgate_gateway.protocol.requests import Read
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.rules.cached_response import CacheRequest

# How long the origin's permission for a reader is valid: a revoked one ends after this time at the
# latest, and an origin is asked once in it for each reader.
PERMISSION_S = 30.0
QUESTIONS = counter(
    "headgate_origin_questions_total",
    "Permission checks at the origin of a route with auth = origin, by result: yes, no, or failed.",
    "route",
    "result",
)
PERMISSIONS = gauge(
    "headgate_origin_permissions",
    "Cached permissions of readers by the origin, at most 65,536.",
    "route",
)


class _GuardedAnswer(AnswerReceiver):
    """The receiver of the answer to a read of `name`; the guard is notified of its status first."""

    def __init__(self, guard: OriginGuard, name: str, receiver: AnswerReceiver) -> None:
        self._guard = guard
        self._name = name
        self._receiver = receiver

    @override
    def on_answer(self, answer: OriginAnswer) -> None:
        self._guard.note_status(self._name, answer.status)
        self._receiver.on_answer(answer)

    @override
    def on_failure(self, error: Exception) -> None:
        self._receiver.on_failure(error)


class AskingRequests(OriginRequests):
    """The reads of a route whose origin decides who may read.

    The origin gets all credentials, and the `guard` is notified of its decisions.
    """

    are_reusable = False  # each request is made for its reader
    page_of_identified = PAGE  # a response is for all whom the origin lets read

    def __init__(self, made: RouteSetup, origin: Origin, identity: IdentityHeaders) -> None:
        route, feeds, services = made.route, made.feeds, made.services
        super().__init__(origin, identity, services.via, services.scheme)
        self._dropped = dropped_query(route.drop_query, has_reader_keys=route.reader_keys == "on")
        times = GuardTimes(PERMISSION_S, max(feeds.sse_max_age, feeds.long_poll_timeout))
        on_end: Callable[[Principal], None] = services.admitted.end
        self.guard = OriginGuard(
            self.head, self.permission_request, identity, times, services.clock, on_end
        )

    # Who asks

    @override
    def access(self, access: RouteAccess) -> RouteAccess:
        return access._replace(guard=self.guard)

    @override
    def headers_for_origin(
        self, method: str, target: str, headers: MultiMapping[str]
    ) -> MultiMapping[str]:
        """Return all headers of a request, also a token from the query."""
        return with_token(headers, request_credential(method, target, headers).token)

    @override
    def on_refusal(self, read: Read, headers: MultiMapping[str], sent: MultiMapping[str]) -> None:
        credentials = CIMultiDict(headers)
        if "Authorization" in sent:  # a token in the query is sent as this field
            credentials["Authorization"] = sent["Authorization"]
        self.guard.note_refused_write(self._question(credentials, read).admitted_as)

    @override
    def passed_identity(self, *, is_guarded: bool) -> Callable[[str], bool]:
        return self.identity.has

    @override
    def may_conceal(self, headers: MultiMapping[str]) -> bool:
        return True

    @override
    def who_shares(self, headers: MultiMapping[str]) -> tuple[str, str]:
        rule = "auth = origin; what the origin says is private or sets a cookie is one reader's own"
        return "all whom the origin lets read", rule

    @override
    def _reader(
        self, host: str, read: Read, headers: MultiMapping[str], who: Hashable
    ) -> tuple[str, str, MultiMapping[str]]:
        admitted_as = self._hashed((host, read.path, read.others, who))
        return "", admitted_as, self.guard.stripped(headers)

    # Questions

    def permission_request(
        self, headers: MultiMapping[str], token: str | None, need: Need
    ) -> CacheRequest:
        """Return the request by which the origin is asked whether a client may read a stream."""
        target = f"{need.path}?{need.query}" if need.query else need.path
        return self._question(with_token(headers, token), parse_edge_target(target, self._dropped))

    def _question(self, headers: MultiMapping[str], read: Read) -> CacheRequest:
        named = canonical_host(headers.get("Host", ""))
        beginning = catch_up(read, BEGINNING)
        request = self.cache_request(headers, RequestSender("", self.scheme, named), beginning)
        return request.plain(self.identity)

    async def head(self, request: CacheRequest) -> OriginAnswer:
        """Return the origin's response to a HEAD of the stream that a client wants to read."""
        others = "&".join(request.read.others)
        target = f"{request.path}?{others}" if others else request.path
        return await self._origin.send("HEAD", target, request.fields)

    @override
    def send(
        self, request: CacheRequest, validators: Sequence[tuple[str, str]], receiver: AnswerReceiver
    ) -> SentRequest:
        guarded = _GuardedAnswer(self.guard, request.admitted_as, receiver)
        return super().send(request, validators, guarded)

    # The guard's life

    @override
    def open(self) -> None:
        self.guard.start()

    @override
    async def close(self) -> None:
        await self.guard.stop()

    @override
    def samples(self, prefix: str) -> Iterator[Sample]:
        """Yield how the origin has decided on readers, and how many permissions are remembered."""
        for result, count in self.guard.results.items():
            yield Sample(QUESTIONS, (prefix, result), float(count))
        yield Sample(PERMISSIONS, (prefix,), float(self.guard.permission_count))
