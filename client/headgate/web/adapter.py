"""The functions that are the same in each asyncio web framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from headgate.web.chat_requests import ROUTES, Requests
from headgate.web.reply import sentence

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from headgate.chats.chats import Chats
    from headgate.chats.turn import Answering
    from headgate.runs.answer import Answer
    from headgate.runs.runs import Runs
    from headgate.web.chat_requests import Authorize
    from headgate.web.reply import Incoming, Reply

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Route = TypeVar("_Route")


class Adapter(Generic[_Request, _Response, _Route]):
    """A web framework, by how it shows a request, takes a reply and routes a path to a view."""

    def __init__(
        self,
        incoming: Callable[[_Request], Incoming[_Request]],
        respond: Callable[[_Request, Answer | Reply | None], Awaitable[_Response]],
        route: Callable[[str, list[str], Callable[..., Coroutine[Any, Any, _Response]]], _Route],
    ) -> None:
        self._incoming = incoming
        self._respond = respond
        self._route = route

    async def resume(
        self,
        request: _Request,
        runs: Runs,
        run_id: str,
        *,
        only_active: bool = True,
        wait: float = 0.0,
    ) -> _Response:
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
            after, only_active = self._incoming(request).position(only_active=only_active)
            answer = await runs.follow(run_id, after, only_active=only_active, wait=wait)
        except ValueError as error:
            return await self._respond(request, sentence(400, error))
        return await self._respond(request, answer)

    def chat_router(
        self,
        chats: Chats,
        answering: Answering,
        *,
        authorize: Authorize[_Request],
        path: str = "/api/chat",
    ) -> list[_Route]:
        """Return the routes by which a page uses its chats.

        Args:
            chats: The chats of the application.
            answering: A function that returns the source of an answer for a `Turn`.
            authorize: A function, which may be async, of each request and the id of its chat. It
                returns the user, for `Turn.user`, or True; a false value refuses the request with
                403.
            path: The path of the routes, which the page has as its `api`.
        """
        requests = Requests(chats, answering, authorize)

        def route(at: str) -> _Route:
            async def view(request: _Request, **_: str) -> _Response:
                reply = await requests.answer(at, self._incoming(request))
                return await self._respond(request, reply)

            return self._route(path + at, [*ROUTES[at]], view)

        return [route(at) for at in ROUTES]
