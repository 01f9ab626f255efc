"""Handle requests below a model route: completions are stored, and all else is passed on."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from typing_extensions import override

from headgate.dialects.progress import CANCELLED
from headgate_gateway.errors import BadRequest, MethodNotAllowed, StreamGone, WebSocketNotOffered
from headgate_gateway.features.held_answers import held_answer
from headgate_gateway.features.models.completion import WholeResponse
from headgate_gateway.features.models.provider.bodies import Upload, passed_parts, received
from headgate_gateway.features.models.provider.requests import (
    LAST_EVENT_ID,
    OF_OTHER_ANSWER,
    CompletionRequest,
    RequestBody,
    choices_in,
    digest_of,
    has_key,
    is_named,
    last_event_id,
    named_stream,
    owner_of_account,
    owner_of_keys,
    sent_keys,
    with_key,
)
from headgate_gateway.features.models.provider.responses import (
    relayed,
    relayed_response,
    with_sdk_error,
)
from headgate_gateway.features.models.reading import CompletionBody, position_after, response_object
from headgate_gateway.features.models.record import ResponseEntry
from headgate_gateway.features.models.route import ModelGuard, page_fields
from headgate_gateway.protocol.http.header_names import STREAM_FIELD
from headgate_gateway.protocol.http.paths import split
from headgate_gateway.protocol.streams.offsets import parse_offset
from headgate_gateway.runtime.limits import BodyCount
from headgate_gateway.stepped import in_task
from headgate_gateway.web.operations import RouteOperations
from headgate_gateway.web.requests import request_body, request_head
from headgate_gateway.web.requests.request import exchange_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from multidict import CIMultiDict, MultiMapping

    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.features.models.completion import Completion
    from headgate_gateway.features.models.places import CompletionPlaces
    from headgate_gateway.features.models.provider.client import ProviderResponse
    from headgate_gateway.features.models.route import ModelRoute
    from headgate_gateway.features.models.streams import StreamEnd
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.routes.answers import RouteAnswer
    from headgate_gateway.routes.services import Services
    from headgate_gateway.web.asks.plans import Plans
    from headgate_gateway.web.operations import PageFields
    from headgate_gateway.web.requests.request import Request

UNFORWARDED = frozenset({"CONNECT", "TRACE"})
_REALTIME = "/v1/realtime"  # which is only spoken over a WebSocket
_PRIVATE = ("Cache-Control", "private, no-store")


class ModelHandlers(RouteOperations):
    """The operations below model routes, which `operate` starts."""

    def __init__(self, _plans: Plans, services: Services) -> None:
        self._services = services

    @override
    def page_fields(self, route: ModelRoute) -> PageFields:
        return page_fields(has_own_key=bool(route.key))

    @override
    def has_token(self, route: ModelRoute, headers: MultiMapping[str], _bearer: str | None) -> bool:
        """Return whether a request has a token where callers of a model send it."""
        guard = route.access.guard
        return isinstance(guard, ModelGuard) and guard.sent_token(headers) is not None

    @override
    def error_response(self, _error: HeadgateError, problem: Response) -> Response:
        return with_sdk_error(problem)

    @override
    def operate(
        self, request: Request, target: str, route: ModelRoute, _name: str
    ) -> Coroutine[Any, Any, RouteAnswer | None]:
        """Return a coroutine of the response, which ends with the right of its client."""
        if request.method in UNFORWARDED:
            raise MethodNotAllowed(f"{request.method} is not passed on")
        request_head.refuse_websocket(request)
        request.end_with_fin()
        return held_answer(request, self._services, self._answered(request, target, route))

    def _answered(
        self, request: Request, target: str, route: ModelRoute
    ) -> Coroutine[Any, Any, RouteAnswer]:
        below = target.removeprefix(route.prefix)
        path = split(below)[0]
        if request.method == "POST" and route.family.dialect_at(path) is not None:
            return self._answer(request, below, route)
        if request.method == "GET" and path.endswith(_REALTIME):
            raise WebSocketNotOffered
        if request.method == "POST":
            _refuse_names(request, below, route)
        request.limit_grace(0.0)
        if (named := route.family.retrieved_at(path)) is not None:
            return self._by_id(request, below, route, *named)
        return self._pass_on(request, below, route)

    async def _by_id(
        self, request: Request, target: str, route: ModelRoute, response_id: str, action: str
    ) -> RouteAnswer:
        """Return a stored completion, cancel it or delete it; pass on what is not stored here."""
        await in_task()
        completion = await route.completions.retrieve(_owner(request, route), response_id)
        if completion is None:
            return await self._pass_on(request, target, route)
        body = b""
        with BodyCount(self._services.limits) as counted:
            if request.has_body:
                body = await request_body.whole(
                    request, self._services, may_be_coded=True, counted=counted
                )
            stored = await self._of_stored(request, target, route, completion, action)
        if stored is None:
            return await self._pass_on(request, target, route, body, counted)
        counted.release()
        return stored

    async def _of_stored(
        self, request: Request, target: str, route: ModelRoute, completion: Completion, action: str
    ) -> RouteAnswer | None:
        """Return the response to a request for a stored completion; None if it is to be passed on.

        The provider has more than is stored of a background response whose connection was lost.
        """
        if completion.request.in_background and completion.outcome not in {None, "complete"}:
            return None
        match request.method, action:
            case "GET", "":
                query = parse_qs(split(target)[1])
                if query.get("stream") == ["true"]:
                    return await self._replayed(request, route, completion, query)
                return await self._state(route, completion)
            case "POST", "cancel":
                completion.stop(CANCELLED)
                await completion.wait_for_end()
                if not completion.request.in_background:  # else it goes on without its connection
                    return await self._state(route, completion)
            case "DELETE", "":
                if completion.request.is_in_named_stream:
                    raise MethodNotAllowed("other answers are in the stream: delete it as a whole")
                await route.completions.stored.delete(completion.name)
            case _:
                pass
        return None

    async def _replayed(
        self,
        request: Request,
        route: ModelRoute,
        completion: Completion,
        query: dict[str, list[str]],
    ) -> RouteAnswer:
        """Return the events of a completion after the one with the cursor in the query, if any."""
        retrieval = completion.request.dialect.retrieval
        assert retrieval is not None, "it was found by its id"
        after = query.get(retrieval.cursor_field, [])
        position = completion.request.position
        if after:
            try:
                cursor = retrieval.parsed_cursor("\n".join(after))
            except ValueError as error:
                raise BadRequest(f"{retrieval.cursor_field} {error}") from None
            position = await position_after(cursor, completion, await _end(route, completion))
        head = await completion.wait_for_head()
        assert not isinstance(head, WholeResponse), "its response has an id, so it is stored"
        fields = [it for it in head.fields if it[0].lower() != "cache-control"]
        private = ResponseEntry(head.status, (*fields, _PRIVATE))
        completion.begin_reading(request)
        return await self._followed(request, route, completion, private, position)

    @staticmethod
    async def _state(route: ModelRoute, completion: Completion) -> RouteAnswer | None:
        """Return the response object of a completion as it is now; None if it has none yet."""
        state = await response_object(completion, await _end(route, completion))
        if state is None:
            return None
        head = ResponseEntry(HTTPStatus.OK, (("Content-Type", "application/json"), _PRIVATE))
        return relayed(head, (), state, len(state))

    async def _answer(self, request: Request, target: str, route: ModelRoute) -> RouteAnswer:
        """Return the completion of a model that is stored; pass others on."""
        stream, target = named_stream(request.headers, target)
        outlives = route.settings.leave == "go-on" or is_named(request.headers, stream)
        owner, address = _owner(request, route), self._address(request, route)
        places, dialect = route.completions.places, route.family.dialect_at(split(target)[0])
        place = partial(places.for_decoding, owner, address, may_join=has_key(request.headers))
        # Only such APIs have completions in the background.
        may_outlive = outlives or (dialect is not None and dialect.retrieval is not None)
        with BodyCount(self._services.limits) as counted:
            sent, uncoded = await received(
                request, self._services, counted, place, outlives=may_outlive
            )
            wanted = choices_in(uncoded)
            if not (outlives or wanted.background) and request.transport is None:
                raise ConnectionResetError("the client is gone")
            fields = route.upstream.fields(request.headers, is_stored=wanted.stream)
            if not wanted.stream:
                del uncoded
                request.limit_grace(0.0)
                call = partial(route.upstream.call, target, fields, sent)
                return await self._in_place(request, route, places, call, counted)
            await in_task()
            body = RequestBody(sent, digest_of(target, uncoded), counted)
            del uncoded  # which no frame holds until the completion ends
            asked = CompletionRequest(
                owner,
                None,
                split(target)[0],
                target,
                fields,
                body,
                wanted.model,
                wanted.background,
                stream,
                address,
                last_event_id=last_event_id(request.headers),
            )
            asked = with_key(asked, request.headers)
        completion = await route.completions.completion_for(asked)
        del asked, body, counted, sent
        completion.begin_reading(request)
        head = await completion.wait_for_head()
        if isinstance(head, WholeResponse):
            return relayed(head.head, (), head.body, len(head.body))
        return await self._followed(request, route, completion, head, completion.request.position)

    async def _followed(
        self,
        request: Request,
        route: ModelRoute,
        completion: Completion,
        head: ResponseEntry,
        position: int,
    ) -> RouteAnswer:
        """Return the response that follows a completion, from Last-Event-ID on if that is given.

        It ends with its client; the completion goes on.
        """
        request.limit_grace(0.0)
        end = await _end(route, completion)
        begin = completion.request.position
        if last := last_event_id(request.headers):
            position = parse_offset(last, LAST_EVENT_ID).position
            if not begin <= position <= completion.position or end.offset_of(position) != last:
                raise StreamGone(OF_OTHER_ANSWER)
        next_offset = "Stream-Next-Offset", end.offset_of(position)
        added = _stream_url(request, route, completion), next_offset
        return relayed(head, added, CompletionBody(completion, position, end.offset_of), None)

    def _address(self, request: Request, route: ModelRoute) -> str:
        """Return the address that counts until the provider has accepted a caller's own key.

        Return "" for callers with a principal, and where all use the key of the route.
        """
        if route.key or exchange_of(request).principal is not None:
            return ""
        return self._services.quotas.counts_as(request.transport, request.headers) or "gone"

    async def _pass_on(
        self,
        request: Request,
        target: str,
        route: ModelRoute,
        body: bytes | None = None,
        counted: BodyCount | None = None,
    ) -> RouteAnswer:
        """Return the provider's response to a request that is passed on, as its body, as it comes.

        The body may have been received already; it counts in `counted`.
        """
        with counted or BodyCount(self._services.limits) as count:
            fields = route.upstream.fields(request.headers)
            sent: bytes | Upload | None = body
            if body is None and request.has_body:
                sent = self._upload(request, fields, count)
        call = partial(route.upstream.request, request.method, target, fields, sent or None)
        return await self._in_place(request, route, route.passed, call, count)

    def _upload(
        self, request: Request, fields: CIMultiDict[str], counted: BodyCount
    ) -> bytes | Upload:
        """Return a body that is sent on, whole if it has come already.

        Raises BodyTooLarge, and LimitReached for a whole one that is too much with all others.
        """
        if (whole := request_body.at_hand(request)) is not None:
            counted.add(len(whole))
            return whole
        if request.content_length is not None:
            self._services.limits.check_passed(request.content_length)
            fields["Content-Length"] = str(request.content_length)
        return Upload(passed_parts(request, self._services))

    async def _in_place(
        self,
        request: Request,
        route: ModelRoute,
        places: CompletionPlaces,
        call: Callable[[], Awaitable[ProviderResponse]],
        counted: BodyCount,
    ) -> RouteAnswer:
        """Return the response to a call, which has one of these places until its end.

        The body of the request is `counted` until the provider has sent its head.
        """
        owner = _owner(request, route)
        try:
            await in_task()
            with places.acquired(owner, self._address(request, route)) as place:
                response = await call()
        finally:
            counted.release()
        places.note_status(place, response.status)
        return relayed_response(response, partial(places.release, place))


def _refuse_names(request: Request, below: str, route: ModelRoute) -> None:
    """Raise BadRequest if a request names a stream where none is written.

    Fields that an agent sends with every request are ignored: its prefix, and an Idempotency-Key,
    which may be the SDK's own.
    """
    ends = (end for dialect in route.family.dialects for end in dialect.answer_ends)
    if any(f"{end}/" in split(below)[0] for end in ends):
        return
    if named_stream(request.headers, below)[0] is not None:
        raise BadRequest(
            f"no answers are stored at this path: send the request without {STREAM_FIELD}"
        )


async def _end(route: ModelRoute, completion: Completion) -> StreamEnd:
    """Return the end of a completion's stream, which is used now, once it is known so far.

    Another gateway may have sent its client more than this one knows of. Raises StreamGone.
    """
    await route.streams.touch(completion.name)
    end = await route.streams.end(completion.name)
    if end is None:
        raise StreamGone("the stream of the answer was deleted")
    await completion.reach(end.tail)
    return end


def _stream_url(request: Request, route: ModelRoute, completion: Completion) -> tuple[str, str]:
    """Return the field that tells clients where a completion is read."""
    return "Stream-URL", f"{request_head.base_url(request)}{route.streams.path(completion.name)}"


def _owner(request: Request, route: ModelRoute) -> bytes:
    """Return whose completion it is: a principal's, or that of the provider's key; else b""."""
    principal = exchange_of(request).principal
    if principal is not None:
        return owner_of_account(principal.account)
    return b"" if route.key else owner_of_keys(sent_keys(request.headers))
