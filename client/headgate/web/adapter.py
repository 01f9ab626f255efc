"""The functions that are the same in each asyncio web framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from headgate.web.chat_requests import Requests, views
from headgate.web.reply import resumed

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from headgate.chats.chats import Chats
    from headgate.chats.conversation import Answering
    from headgate.runs.runs import Runs
    from headgate.web.chat_requests import Authorize, View
    from headgate.web.reply import Incoming

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Router = TypeVar("_Router")


class Framework(Generic[_Request, _Response, _Router]):
    """A web framework, by how it shows a request, takes a reply and routes paths to views."""

    def __init__(
        self,
        incoming: Callable[[_Request], Incoming[_Request]],
        respond: Callable[[Any], _Response],
        router: Callable[[list[View]], _Router],
    ) -> None:
        self._incoming = incoming
        self._respond = respond
        self._router = router


class Adapter(Framework[_Request, _Response, _Router]):
    """The functions for an asyncio web framework."""

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
        incoming = self._incoming(request)
        return self._respond(
            await resumed(runs, incoming, run_id, only_active=only_active, wait=wait)
        )

    def chat_router(
        self,
        chats: Chats,
        answering: Answering,
        *,
        authorize: Authorize[_Request],
        path: str = "/api/chat",
    ) -> _Router:
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

        async def view(at: str, request: _Request, **_: str) -> _Response:
            return self._respond(await requests.answer(at, self._incoming(request)))

        return self._router(views(path, view))
