"""The HTTP requests of a chat page, independent of the web framework, for threads."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from headgate.chats.requests import MOST_BODY_BYTES, Reply, Requests
from headgate.sync.loop_thread import current
from headgate.sync.threads import answer_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from headgate import runs as for_asyncio
    from headgate.runs.cursors import Fields
    from headgate.sync.answer import Answer
    from headgate.sync.chats import Chats
    from headgate.sync.loop_thread import Calls
    from headgate.sync.threads import Answering

    Answered: TypeAlias = for_asyncio.Answer | Reply

MOST_READ = MOST_BODY_BYTES + 1  # of a longer body as much as tells that it is

_Request = TypeVar("_Request")


class ChatRequests(Generic[_Request]):
    """Answers the requests of pages to the chats of an application of threads."""

    def __init__(
        self, chats: Chats, answering: Answering, authorize: Callable[[_Request, str], object]
    ) -> None:
        if not callable(authorize):
            raise TypeError("authorize is a function of the request and the id of the chat")
        self._chats = chats
        self._answering = answering
        self._authorize = authorize

    def send(self, request: _Request, body: bytes) -> Answer | Reply:
        """Answer a page that asks."""

        async def pieces() -> AsyncGenerator[bytes]:
            yield body

        return self._answered(lambda requests: requests.send(request, pieces()))

    def history(self, request: _Request, chat: str, query: Mapping[str, str]) -> Answer | Reply:
        """Answer with messages of the chat."""
        return self._answered(lambda requests: requests.history(request, chat, query))

    def resume(
        self, request: _Request, chat: str, query: Mapping[str, str], headers: Fields
    ) -> Answer | Reply:
        """Answer a page that comes back."""
        return self._answered(lambda requests: requests.resume(request, chat, query, headers))

    def stop(self, request: _Request, chat: str) -> Answer | Reply:
        """Stop the answer that goes on."""
        return self._answered(lambda requests: requests.stop(request, chat))

    def delete(self, request: _Request, chat: str) -> Answer | Reply:
        """Delete the chat."""
        return self._answered(lambda requests: requests.delete(request, chat))

    def _answered(
        self, answer: Callable[[Requests[_Request]], Awaitable[Answered]]
    ) -> Answer | Reply:
        async def answered(calls: Calls) -> Answered:
            def authorize(request: _Request, chat: str) -> Awaitable[object]:
                return calls.ask(partial(_user, self._authorize, request, chat))

            source = self._chats._in_threads(self._answering)
            return await answer(Requests(await self._chats._find(), source, authorize))

        found = current().call_back(answered)
        return found if isinstance(found, Reply) else answer_of(found)


def _user(authorize: Callable[[_Request, str], object], request: _Request, chat: str) -> object:
    """Return who asks. A coroutine would count as somebody."""
    user = authorize(request, chat)
    if inspect.iscoroutine(user):
        user.close()
        raise TypeError("authorize is no coroutine function here")
    return user
