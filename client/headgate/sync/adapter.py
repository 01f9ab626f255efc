"""The functions that are the same in each web framework with threads."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from headgate.sync.loop_thread import current
from headgate.sync.threads import answer_of
from headgate.web.chat_requests import ROUTES, Requests
from headgate.web.reply import Reply, sentence

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate import runs as for_asyncio
    from headgate.sync.answer import Answer
    from headgate.sync.chats import Chats
    from headgate.sync.loop_thread import Calls
    from headgate.sync.runs import Runs
    from headgate.sync.threads import Answering
    from headgate.web.reply import Incoming

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Route = TypeVar("_Route")


class ThreadAdapter(Generic[_Request, _Response, _Route]):
    """An `Adapter` for a web framework with threads."""

    def __init__(
        self,
        incoming: Callable[[_Request], Incoming[_Request]],
        respond: Callable[[Answer | Reply | None], _Response],
        route: Callable[[str, list[str], Callable[..., _Response]], _Route],
    ) -> None:
        self._incoming = incoming
        self._respond = respond
        self._route = route

    def resume(
        self,
        request: _Request,
        runs: Runs,
        run_id: str,
        *,
        only_active: bool = True,
        wait: float = 0.0,
    ) -> _Response:
        """Do what `headgate.web.adapter.Adapter.resume` does."""
        try:
            after, only_active = self._incoming(request).position(only_active=only_active)
            answer = runs.follow(run_id, after, only_active=only_active, wait=wait)
        except ValueError as error:
            return self._respond(sentence(400, error))
        return self._respond(answer)

    def chat_router(
        self,
        chats: Chats,
        answering: Answering,
        *,
        authorize: Callable[[_Request, str], object],
        path: str = "/api/chat",
    ) -> list[_Route]:
        """Do what `headgate.web.adapter.Adapter.chat_router` does; `authorize` is not async."""
        if not callable(authorize):
            raise TypeError("authorize is a function of the request and the id of the chat")

        def route(at: str) -> _Route:
            def view(request: _Request, **_: str) -> _Response:
                incoming = self._incoming(request)
                return self._respond(_reply(at, incoming, chats, answering, authorize))

            return self._route(path + at, [*ROUTES[at]], view)

        return [route(at) for at in ROUTES]


def _reply(
    path: str,
    incoming: Incoming[_Request],
    chats: Chats,
    answering: Answering,
    authorize: Callable[[_Request, str], object],
) -> Answer | Reply:
    """Return the reply of the loop thread, which calls `authorize` in this thread."""

    async def answered(calls: Calls) -> for_asyncio.Answer | Reply:
        def authorize_here(request: _Request, chat: str) -> Awaitable[object]:
            return calls.ask(partial(_user, authorize, request, chat))

        source = chats._in_threads(answering)
        requests = Requests(await chats._find(), source, authorize_here)
        return await requests.answer(path, incoming)

    reply = current().call_back(answered)
    return reply if isinstance(reply, Reply) else answer_of(reply)


def _user(authorize: Callable[[_Request, str], object], request: _Request, chat: str) -> object:
    """Return the user. Raises TypeError for a coroutine, which would count as a user."""
    user = authorize(request, chat)
    if inspect.iscoroutine(user):
        user.close()
        raise TypeError("authorize is no coroutine function here")
    return user
