"""The functions that are the same in each web framework with threads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from headgate.sync.loop_thread import current
from headgate.sync.twins import answer_of, in_threads
from headgate.web.adapter import Framework, _Response, _Router
from headgate.web.chat_requests import Reply, Requests, _Request, check_authorize, resumed, views

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from headgate import runs as for_asyncio
    from headgate.sync.chats import Chats
    from headgate.sync.loop_thread import Calls
    from headgate.sync.runs import Runs
    from headgate.sync.twins import Answering


class ThreadAdapter(Framework[_Request, _Response, _Router]):
    """The functions for a web framework with threads, whose replies come from the loop thread."""

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
        incoming = self._incoming(request)

        async def reply(_: Calls) -> for_asyncio.Answer | Reply:
            found = runs._found()
            return await resumed(found, incoming, run_id, only_active=only_active, wait=wait)

        return self._replied(reply)

    def chat_router(
        self,
        chats: Chats,
        answering: Answering,
        *,
        authorize: Callable[[_Request, str], object],
        path: str = "/api/chat",
    ) -> _Router:
        """Do what `headgate.web.adapter.Adapter.chat_router` does.

        `authorize` is called in the thread of the request.
        """
        check_authorize(authorize)

        def view(at: str, request: _Request, **_: str) -> _Response:
            incoming = self._incoming(request)

            async def reply(calls: Calls) -> for_asyncio.Answer | Reply:
                def authorize_here(request: _Request, chat_id: str) -> Awaitable[object]:
                    return calls.ask(partial(authorize, request, chat_id))

                requests = Requests(chats._found(), in_threads(answering), authorize_here)
                return await requests.answer(at, incoming)

            return self._replied(reply)

        return self._router(views(path, view))

    def _replied(
        self, reply: Callable[[Calls], Coroutine[Any, Any, for_asyncio.Answer | Reply]]
    ) -> _Response:
        """Respond what comes of `reply` in the loop thread, which makes its calls in this one."""
        made = current().call(reply)
        return self._respond(made if isinstance(made, Reply) else answer_of(made))
