"""The HTTP requests of the clients of runs and chats, independent of the web framework.

| request | answer |
| --- | --- |
| POST {path}, the body of `useChat` | 200 and the answer as it comes |
| GET {path}/{id} | the messages, and the states of their answers |
| GET {path}/{id}/stream | the answer that goes on; 204 when none does, nor one begins in `?wait=` |
| POST {path}/{id}/stop | whether there was an answer to be stopped |
| DELETE {path}/{id} | whether there was a chat |
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import msgspec

from headgate.chats import entries
from headgate.errors import BadRequest, Closed, Conflict, StreamError, TooLarge, Unavailable
from headgate.runs.cursors import cursor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Mapping

    from headgate.chats.chats import Chats
    from headgate.chats.conversation import Answering
    from headgate.runs import Answer, Runs
    from headgate.runs.cursors import Fields

RETRY_AFTER_S = 1  # a server that restarts is back within seconds
MOST_DIGITS = 9  # of a number in a query: more than any bound here has
# `useChat` sends all messages each time, with the files in them. One of them is stored, for which
# the server has its own bound.
MOST_BODY_BYTES = 16 << 20
LONGEST_WAIT_S = 30  # less than proxies wait for an answer

_Request = TypeVar("_Request")
# Gives who asks, for `Turn.user`, or True; what is false refuses the request.
Authorize: TypeAlias = Callable[[_Request, str], object | Awaitable[object]]
View: TypeAlias = tuple[str, list[str], Callable[..., Any]]  # and its path and methods before it

# The path below that of chats, and what each method does there.
ROUTES: dict[str, dict[str, str]] = {
    "": {"POST": "send"},
    "/{chat}": {"GET": "history", "DELETE": "delete"},
    "/{chat}/stream": {"GET": "resume"},
    "/{chat}/stop": {"POST": "stop"},
}


def views(path: str, view: Callable[..., Any]) -> list[View]:
    """Return the views of a chat's routes; `view` takes the path of ROUTES, then the request."""
    return [(path + at, [*methods], partial(view, at)) for at, methods in ROUTES.items()]


def check_authorize(authorize: object) -> None:
    """Raise TypeError for what cannot decide who may use a chat."""
    if not callable(authorize):
        raise TypeError("authorize is a function of the request and the id of the chat")


@dataclass(frozen=True, slots=True)
class Incoming(Generic[_Request]):
    """A request as the rules of runs and chats see it; its `body` is read once."""

    request: _Request  # of the framework, for `authorize`
    method: str
    chat: str  # of the path; empty where there is none
    query: Mapping[str, str]
    headers: Fields
    body: AsyncIterable[bytes]


@dataclass(frozen=True, slots=True)
class Reply:
    """A response with a complete body; one that comes in pieces is an `Answer`."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


NOTHING = Reply(204)  # so that the client stops asking


async def once(body: bytes) -> AsyncGenerator[bytes]:
    """Yield a body of which at most MOST_BODY_BYTES, and one byte more, were read."""
    yield body


def sentence(status: int, words: object, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply for people: its text is the `error.message` of `useChat`, so no line ends."""
    kind = {"Content-Type": "text/plain; charset=utf-8"}
    return Reply(status, f"{words}".encode(), {**kind, **(headers or {})})


async def resumed(
    runs: Runs, incoming: Incoming[_Request], run_id: str, *, only_active: bool, wait: float
) -> Answer | Reply:
    """Return the reply to a client that comes back, as `Adapter.resume` does."""
    try:
        after = cursor(incoming.query, incoming.headers)
        only_active = only_active and after is None
        answer = await runs.follow(run_id, after, only_active=only_active, wait=wait)
    except ValueError as error:
        return sentence(400, error)
    return answer or NOTHING


class _Refused(Exception):
    """A request that is answered with a status and a sentence, its arguments."""


class Requests(Generic[_Request]):
    """The handler of pages' requests to the chats of an application."""

    def __init__(self, chats: Chats, answering: Answering, authorize: Authorize[_Request]) -> None:
        check_authorize(authorize)
        self._chats = chats
        self._answering = answering
        self._authorize = authorize

    async def answer(self, path: str, incoming: Incoming[_Request]) -> Answer | Reply:
        """Answer a request at one of the paths of ROUTES.

        What went wrong is a status, and a sentence, which `useChat` shows as its error.
        """
        operations = ROUTES[path]
        operation = operations.get("GET" if incoming.method == "HEAD" else incoming.method)
        if operation is None:
            return sentence(405, "this method is not allowed", {"Allow": ", ".join(operations)})
        try:
            return await getattr(self, f"_{operation}")(incoming)  # type: ignore[no-any-return]
        except _Refused as refused:
            return sentence(*refused.args)
        except _KINDS as error:
            kind = next(kind for kind in _KINDS if isinstance(error, kind))
            status, words = _FAULTS[kind]
            headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
            return sentence(status, words or error.reason, headers)

    async def _send(self, incoming: Incoming[_Request]) -> Answer:
        body = await _json_object(incoming.body)
        chat = body.get("id")
        if chat is None:
            raise BadRequest(
                "the body has no id: a page sends the id of its chat with each message"
            )
        if not isinstance(chat, str):
            raise BadRequest("the id of a chat is a string")
        entries.check_chat(chat)
        user = await self._user(incoming, chat)
        trigger = entries.check_trigger(body.get("trigger", "submit-message"))
        return await self._chats.send(
            chat, _last(body), self._answering, trigger=trigger, user=user, body=body
        )

    async def _history(self, incoming: Incoming[_Request]) -> Reply:
        await self._user(incoming, entries.check_chat(incoming.chat))
        return _json(await self._chats.history(incoming.chat))

    async def _resume(self, incoming: Incoming[_Request]) -> Answer | Reply:
        await self._user(incoming, entries.chat_of(incoming.chat))
        try:
            after = cursor(incoming.query, incoming.headers)
        except ValueError as error:
            raise BadRequest(*error.args) from error
        wait = incoming.query.get("wait", "0")
        if not (wait.isdecimal() and len(wait) <= MOST_DIGITS and int(wait) <= LONGEST_WAIT_S):
            raise BadRequest(
                f"wait is a whole number of seconds, up to {LONGEST_WAIT_S}, not {wait[:20]!r}"
            )
        return await self._chats.resume(incoming.chat, after, wait=int(wait)) or NOTHING

    async def _stop(self, incoming: Incoming[_Request]) -> Reply:
        await self._user(incoming, entries.check_chat(incoming.chat))
        return _json({"stopped": await self._chats.stop(incoming.chat)})

    async def _delete(self, incoming: Incoming[_Request]) -> Reply:
        await self._user(incoming, entries.check_chat(incoming.chat))
        return _json({"deleted": await self._chats.delete(incoming.chat)})

    async def _user(self, incoming: Incoming[_Request], chat: str) -> object:
        """Return who asks; a function that forgets to return something lets nobody in."""
        user = self._authorize(incoming.request, chat)
        while inspect.isawaitable(user):  # an `async def` that a thread has called is one again
            user = await user
        if not user:
            raise _Refused(403, "you may not use this chat")
        return user


# The status for each error, and the sentence for the page; by default the one of the error.
_FAULTS: dict[type[StreamError], tuple[int, str]] = {
    BadRequest: (400, ""),
    Closed: (409, "this chat is being deleted"),  # before Conflict, of which it is one
    Conflict: (409, ""),
    TooLarge: (413, "the message is larger than the server takes"),
    Unavailable: (503, "the chat cannot be reached for now"),
}
_KINDS = tuple(_FAULTS)


def _json(value: object) -> Reply:
    return Reply(200, msgspec.json.encode(value), {"Content-Type": "application/json"})


async def _json_object(pieces: AsyncIterable[bytes]) -> dict[str, Any]:
    body = bytearray()
    try:
        async for piece in pieces:
            body += piece
            if len(body) > MOST_BODY_BYTES:
                break
    except Exception as error:  # of the framework, such as for a wrong Content-Encoding
        raise BadRequest("the body of the request cannot be read as its head says") from error
    if len(body) > MOST_BODY_BYTES:
        raise _Refused(413, f"a request has at most {MOST_BODY_BYTES} bytes")
    try:
        decoded = _decoded(body)
    except (ValueError, RecursionError):
        raise BadRequest("the body of the request is no JSON") from None
    if not isinstance(decoded, dict):
        raise BadRequest("the body of the request is a JSON object with an id and messages")
    return decoded


def _decoded(body: bytearray) -> object:
    """Return the value of JSON. Raises ValueError or RecursionError for what is not JSON.

    A page makes half of a surrogate pair by cutting a text within an emoji, and then sends it with
    each message. It becomes the replacement character, as when a browser encodes it.
    """
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        text = json.dumps(json.loads(body.decode()), ensure_ascii=False, allow_nan=False)
        return msgspec.json.decode(
            text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        )


def _last(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the new message: the `message`, or the last one of the `messages`."""
    messages = body.get("messages")
    if "message" in body:
        messages = [body["message"]]
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        raise BadRequest("there is no message: a page sends messages, or the last one as message")
    return messages[-1]
