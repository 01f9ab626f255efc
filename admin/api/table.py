"""The JSON API: a table of operations, from which routes and their description are made."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from aiohttp import web

from admin.access.check import SESSION, VIEWER
from admin.access.sign_in import SIGN_IN, drop_cookie, set_cookie
from admin.api import changes
from admin.api.values import (
    AppendBody,
    ChangeMade,
    KeyRotation,
    OfCdnFile,
    OfEvents,
    OfLimits,
    OfMessages,
    OfRoute,
    OfRuns,
    OfSpan,
    OfStream,
    OfTail,
    ReadToken,
    ReloadDone,
    RequestToExplain,
    RotatedKeys,
    Routes,
    SignInBody,
    Stopping,
    TokenWish,
)
from admin.bodies import body_of
from admin.console import CONSOLE
from admin.errors import NotTold
from admin.event_model import EventList
from admin.events import event, serve_events, ticks
from admin.model import (
    About,
    CdnFile,
    CdnTargets,
    Configuration,
    DoctorView,
    DoctorWish,
    MessagePlace,
    Messages,
    Overview,
    RunsView,
    Viewer,
)
from admin.record.event_queries import EventQuery, select
from admin.record.refusals import RefusalsView
from gateway.telemetry.inspection import Explanation, StreamDescription, StreamPage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from typing import Any

    from admin.console import Console
    from admin.model import Span

    Asked = tuple[Any, Any]  # the query and the body, as the operation says


class Operation(NamedTuple):
    """An operation of the API: 204 without `answer`, a stream of events with `events`."""

    method: str
    path: str
    summary: str
    call: Callable[[web.Request, Any, Any], Awaitable[Any]]
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    answer: type[msgspec.Struct] | None = None
    events: bool = False


def add_operations(router: web.UrlDispatcher) -> None:
    """Add a route for each operation."""
    for operation in OPERATIONS:
        router.add_route(operation.method, operation.path, _handler(operation))


def _handler(operation: Operation) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            query = _query(request, operation)
            body = None
            if operation.body is not None:
                body = msgspec.json.decode(await body_of(request), type=operation.body)
        except msgspec.DecodeError as refusal:
            raise NotTold(400, f"{refusal}") from refusal
        except (UnicodeDecodeError, RecursionError) as refusal:
            raise NotTold(400, "the body is no UTF-8, or is nested too deeply") from refusal
        answer = await operation.call(request, query, body)
        if isinstance(answer, web.StreamResponse):
            return answer
        return reply(answer)

    return handle


def _query(request: web.Request, operation: Operation) -> msgspec.Struct | None:
    """Return the query as a value. Raises NotTold for unknown parameters, perhaps mistyped."""
    if operation.query is None:
        return None
    known = {field.encode_name for field in msgspec.structs.fields(operation.query)}
    unknown = sorted(set(request.query) - known)
    if unknown:
        raise NotTold(400, f"the query has {unknown[0][:64]!r}, and may have {sorted(known)}")
    return msgspec.convert(dict(request.query), operation.query, strict=False)


def reply(value: object) -> web.Response:
    """Return a value as a line of JSON, None as 204."""
    if value is None:
        return web.Response(status=204)
    return web.Response(body=msgspec.json.encode(value) + b"\n", content_type="application/json")


# ---------------------------------------------------------------- what is shown


async def _overview(request: web.Request, query: OfSpan, _body: None) -> Overview:
    return await request.app[CONSOLE].overview(query.span)


async def _routes(request: web.Request, query: OfSpan, _body: None) -> Routes:
    return Routes(await request.app[CONSOLE].routes(query.span))


async def _refusals(request: web.Request, query: OfSpan, _body: None) -> RefusalsView:
    is_operator = request[VIEWER].role == "operator"
    return await request.app[CONSOLE].refusals.view(query.span, with_clients=is_operator)


async def _streams(request: web.Request, query: OfRoute, _body: None) -> StreamPage:
    return await request.app[CONSOLE].streams(
        query.route,
        begins=query.begins,
        order=query.order,
        after=query.after,
        limit=query.limit,
    )


async def _stream(request: web.Request, query: OfStream, _body: None) -> StreamDescription:
    return await request.app[CONSOLE].stream(query.route, query.name)


async def _runs(request: web.Request, query: OfRuns, _body: None) -> RunsView:
    return await request.app[CONSOLE].runs(
        query.route, status=query.status, after=query.after, limit=query.limit
    )


async def _events(request: web.Request, query: OfEvents, _body: None) -> EventList:
    wanted = EventQuery(query.after, query.kind, query.level, query.route, query.text, query.since)
    return select(request.app[CONSOLE].event_record, wanted, query.limit)


async def _messages(request: web.Request, query: OfMessages, _body: None) -> Messages:
    place = MessagePlace(query.offset, query.skip)
    return await request.app[CONSOLE].messages(query.route, query.name, place, query.limit)


async def _explain(request: web.Request, _query: None, body: RequestToExplain) -> Explanation:
    return await request.app[CONSOLE].explanation(body.url, body.headers, body.method)


async def _cdn_targets(request: web.Request, _query: None, _body: None) -> CdnTargets:
    return request.app[CONSOLE].cdn_targets()


async def _cdn_file(request: web.Request, query: OfCdnFile, _body: None) -> CdnFile:
    return await request.app[CONSOLE].cdn_file(query.target, query)


async def _cdn_doctor(request: web.Request, _query: None, _body: None) -> DoctorView:
    return request.app[CONSOLE].doctor.view


async def _configuration(request: web.Request, _query: None, _body: None) -> Configuration:
    return request.app[CONSOLE].configuration()


async def _about(request: web.Request, _query: None, _body: None) -> About:
    return request.app[CONSOLE].about()


# ---------------------------------------------------------------- sessions


async def _session(request: web.Request, _query: None, _body: None) -> Viewer:
    return request[VIEWER]


async def _begin_session(request: web.Request, _query: None, body: SignInBody) -> web.Response:
    signing = request.app[SIGN_IN]
    token, session = await signing.sign_in(body.name, body.password, request.remote or "")
    response = reply(Viewer(session.name, session.role, session.csrf, signed_in=True))
    set_cookie(response, request, token)
    return response


async def _end_session(request: web.Request, _query: None, _body: None) -> web.Response:
    session = request.get(SESSION)
    if session is not None:
        request.app[SIGN_IN].sessions.end(session)
    response = web.Response(status=204)
    drop_cookie(response)
    return response


# ---------------------------------------------------------------- events


async def _overview_events(request: web.Request, query: OfSpan, _body: None) -> web.StreamResponse:
    return await serve_events(request, overviews(request.app[CONSOLE], query.span))


async def _stream_events(request: web.Request, query: OfTail, _body: None) -> web.StreamResponse:
    offset = request.headers.get("Last-Event-ID") or query.offset
    console = request.app[CONSOLE]
    return await serve_events(request, tail(console, query.route, query.name, offset))


async def overviews(console: Console, span: Span) -> AsyncGenerator[bytes]:
    """Yield the overview as events."""
    async for _ in ticks():
        yield event(await console.overview_as_json(span))


async def tail(console: Console, route: str, name: str, offset: str) -> AsyncGenerator[bytes]:
    """Yield a stream's messages as events, their ids the offsets behind them; the last is `closed`.

    Failures are events called `problem`, since the head of the response is sent by then.
    """
    try:
        async with aclosing(console.follow(route, name, offset)) as following:
            async for messages in following:
                data = msgspec.json.encode(messages)
                identity = messages.tail or (messages.behind.offset if messages.behind else "")
                yield event(data, identity=identity)
        yield event(b"{}", name="closed")
    except NotTold as refusal:
        problem = {"status": refusal.status, "detail": refusal.reason}
        yield event(msgspec.json.encode(problem), name="problem")


OPERATIONS = (
    Operation("GET", "/api/session", "Who is signed in.", _session, answer=Viewer),
    Operation("POST", "/api/session", "Sign in.", _begin_session, body=SignInBody, answer=Viewer),
    Operation("DELETE", "/api/session", "Sign out.", _end_session),
    Operation("GET", "/api/overview", "The first page.", _overview, OfSpan, answer=Overview),
    Operation(
        "GET",
        "/api/overview/events",
        "The first page, every two seconds.",
        _overview_events,
        OfSpan,
        answer=Overview,
        events=True,
    ),
    Operation("GET", "/api/events", "What happened.", _events, OfEvents, answer=EventList),
    Operation("GET", "/api/routes", "Every route.", _routes, OfSpan, answer=Routes),
    Operation("GET", "/api/refusals", "What was refused.", _refusals, OfSpan, answer=RefusalsView),
    Operation(
        "GET", "/api/streams", "A page of a route's streams.", _streams, OfRoute, answer=StreamPage
    ),
    Operation(
        "GET",
        "/api/stream",
        "A stream, its producers and its readers.",
        _stream,
        OfStream,
        answer=StreamDescription,
    ),
    Operation("DELETE", "/api/stream", "Delete a stream.", changes.delete, OfStream),
    Operation(
        "PATCH",
        "/api/stream",
        "Set how much of a stream is kept, and how long it lives unused.",
        changes.limit,
        OfStream,
        OfLimits,
        answer=StreamDescription,
    ),
    Operation(
        "GET",
        "/api/stream/messages",
        "Messages of a stream.",
        _messages,
        OfMessages,
        answer=Messages,
    ),
    Operation(
        "GET",
        "/api/stream/events",
        "Messages of a stream as they come.",
        _stream_events,
        OfTail,
        answer=Messages,
        events=True,
    ),
    Operation(
        "POST",
        "/api/stream/append",
        "Append text.",
        changes.append,
        body=AppendBody,
        answer=ChangeMade,
    ),
    Operation(
        "POST",
        "/api/stream/close",
        "Close a stream.",
        changes.close,
        body=OfStream,
        answer=ChangeMade,
    ),
    Operation("GET", "/api/runs", "A page of a route's runs.", _runs, OfRuns, answer=RunsView),
    Operation(
        "POST",
        "/api/runs/stop",
        "Ask the producer of a run to stop.",
        changes.stop_run,
        body=OfStream,
        answer=Stopping,
    ),
    Operation(
        "POST",
        "/api/tokens",
        "Make a read token.",
        changes.make_token,
        body=TokenWish,
        answer=ReadToken,
    ),
    Operation(
        "POST",
        "/api/reload",
        "Put the settings in force as they are now.",
        changes.reload,
        answer=ReloadDone,
    ),
    Operation(
        "POST",
        "/api/reader-keys/rotate",
        "Give streams other reader keys.",
        changes.rotate_keys,
        body=KeyRotation,
        answer=RotatedKeys,
    ),
    Operation(
        "POST",
        "/api/explain",
        "What would become of a request.",
        _explain,
        body=RequestToExplain,
        answer=Explanation,
    ),
    Operation(
        "GET",
        "/api/cdn",
        "The CDNs and proxies that there are configurations for.",
        _cdn_targets,
        answer=CdnTargets,
    ),
    Operation(
        "GET",
        "/api/cdn/file",
        "A configuration for one of them.",
        _cdn_file,
        OfCdnFile,
        answer=CdnFile,
    ),
    Operation(
        "GET",
        "/api/cdn/doctor",
        "What the doctor found last of what lies before this gateway.",
        _cdn_doctor,
        answer=DoctorView,
    ),
    Operation(
        "POST",
        "/api/cdn/doctor",
        "Have it examine a host that the settings name.",
        changes.begin_doctor,
        body=DoctorWish,
        answer=DoctorView,
    ),
    Operation(
        "GET", "/api/configuration", "The settings in effect.", _configuration, answer=Configuration
    ),
    Operation("GET", "/api/about", "What runs here.", _about, answer=About),
)
