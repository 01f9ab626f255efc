"""The reply to a client of runs and chats, as each web framework sends it."""

from __future__ import annotations

import logging
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from headgate.errors import StreamError
from headgate.web.chat_requests import Requests, _Request, resumed, views

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from typing import Any

    from headgate.chats.chats import Chats
    from headgate.chats.conversation import Answering
    from headgate.runs.runs import Runs
    from headgate.web.chat_requests import Authorize, Incoming, View

log = logging.getLogger("headgate.runs")

_Response = TypeVar("_Response")
_Router = TypeVar("_Router")


@dataclass(frozen=True, slots=True)
class Framework(Generic[_Request, _Response, _Router]):
    """A web framework, by how it shows a request, takes a reply and routes paths to views."""

    _incoming: Callable[[_Request], Incoming[_Request]]
    _respond: Callable[[Any], _Response]
    _router: Callable[[list[View]], _Router]


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
        reply = await resumed(runs, incoming, run_id, only_active=only_active, wait=wait)
        return self._respond(reply)

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


async def write(
    body: AsyncGenerator[bytes], write_piece: Callable[[bytes], Awaitable[None]]
) -> None:
    """Write a body as it comes, and close it in any case; an error of it counts as a disconnect.

    So the client sees that its response is cut, and the server logs no failure of its own.
    """
    async with aclosing(body):
        try:
            async for piece in body:
                await write_piece(piece)
        except StreamError as error:
            log.info("a response is cut: %s", error)
            raise ConnectionResetError from error
