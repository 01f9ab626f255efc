"""Answers of runs for Django's asynchronous views, and their end as its server stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from django.http import HttpResponse, StreamingHttpResponse

from headgate.runs.resuming import resumed

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Iterator,
        Mapping,
        MutableMapping,
    )
    from typing import Any, TypeAlias

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from headgate.runs.runs import Runs

    Message: TypeAlias = MutableMapping[str, Any]
    Receive: TypeAlias = Callable[[], Awaitable[Message]]
    Send: TypeAlias = Callable[[Message], Awaitable[None]]
    Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


class AnswerLike(Protocol):
    """An answer of `headgate.Runs`, or of `headgate.sync.Runs`."""

    @property
    def status(self) -> int:
        """The status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields."""
        ...

    @property
    def body(self) -> AsyncIterator[bytes] | Iterator[bytes]:
        """The bytes, as they come."""
        ...


def send(answer: AnswerLike | None) -> HttpResponseBase:
    """Send an answer as it comes.

    Args:
        answer: The answer of a run; None is sent as 204, so that the client stops asking.
    """
    if answer is None:
        return HttpResponse(status=204)
    return StreamingHttpResponse(answer.body, status=answer.status, headers={**answer.headers})


async def resume(
    request: HttpRequest, runs: Runs, run_id: str, *, only_active: bool = True, wait: float = 0.0
) -> HttpResponseBase:
    """Answer a client that comes back: from its cursor on, also when the run has ended.

    Args:
        request: The request, whose URL or fields may hold a cursor.
        runs: The runs of the application.
        run_id: The id of the run.
        only_active: Whether a client without a cursor gets the run only while it is produced.
        wait: Seconds to wait for a run that has not been started yet.

    Returns:
        The response: 204 if there is nothing for the client, 400 for an invalid cursor or id.
    """
    try:
        query, headers = request.GET.dict(), request.headers
        answer = await resumed(runs, run_id, query, headers, only_active=only_active, wait=wait)
    except ValueError as error:
        return refused(error)
    return send(answer)


def refused(error: ValueError) -> HttpResponse:
    """Answer 400, with what was wrong."""
    return HttpResponse(f"{error}", status=400, content_type="text/plain; charset=utf-8")


def with_lifespan(application: Application, runs: Runs) -> Application:
    """Return an ASGI application that opens `runs`, and closes it when its server stops.

    Django's own application knows nothing of ASGI's *lifespan*, by which a server tells it.
    """

    async def whole(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(runs, receive, send)
        else:
            await application(scope, receive, send)

    return whole


async def _lifespan(runs: Runs, receive: Receive, send: Send) -> None:
    await receive()
    async with runs:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
