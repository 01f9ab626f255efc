"""HTTP requests to one URL. Whatever goes wrong is a `StreamError` of one sentence."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from weakref import WeakSet

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from headgate.errors import ProtocolError, Unavailable
from headgate.faults import connection_error, response_error
from headgate.misuse import check_session
from headgate.names import DEFAULT_BASE, NEXT_OFFSET, not_text, shown, with_parameters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

AGENT = {"User-Agent": "headgate-client"}
CONNECT_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 60.0
# A longer body is sent in pieces: in one, it would hold up the loop.
PIECE_BYTES = 1 << 18
sessions: WeakSet[aiohttp.ClientSession] = WeakSet()  # of all event loops
_answered: WeakSet[aiohttp.ClientSession] = WeakSet()  # those that have got a response of HTTP
_tasks: set[asyncio.Task[None]] = set()  # else a task may be collected before it ends
INVALID_URL_CHARACTERS = 200  # of it, in its error


def unlimited_session() -> aiohttp.ClientSession:
    """Return a session for any number of readers and writers at once.

    Each of them holds a connection: under a limit, those that wait for each other could deadlock.
    """
    session = aiohttp.ClientSession(headers=AGENT, connector=aiohttp.TCPConnector(limit=0))
    sessions.add(session)
    return session


def close_soon(session: aiohttp.ClientSession, loop: asyncio.AbstractEventLoop) -> None:
    """Close a session that was forgotten; in its event loop where that still runs."""
    if loop.is_running():
        start_task(session.close, loop)
    else:  # as far as that goes without one, so that aiohttp does not warn beside the owner
        with contextlib.suppress(StopIteration, RuntimeError):
            session.close().send(None)


def start_task(
    work: Callable[[], Coroutine[Any, Any, None]], loop: asyncio.AbstractEventLoop
) -> None:
    """Run a coroutine in a task that nobody waits for; from any thread."""

    def start() -> None:
        task = loop.create_task(work())
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    if asyncio._get_running_loop() is loop:
        start()
    else:
        loop.call_soon_threadsafe(start)


Authorization: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""The whole value of the `Authorization` field, such as `Bearer TOKEN`, or a function that returns
it. A function, async or not, is called for the first request, and again after a 401, so that an
expired token is replaced.
"""

NO_FIELD = set("\r\n\0")  # no header field holds these
FIELD_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)  # RFC 9110 section 5.1


class Credential:
    """The credential that the requests of one object share: an `Authorization` with a memory.

    `field` makes the header field of the value. Raises TypeError or ValueError if there is none.
    """

    def __init__(self, source: Authorization, field: Callable[[str], str] | None = None) -> None:
        self._field = field or _checked
        self.source = source if callable(source) else self._field(source)
        self._value = None if callable(self.source) else self.source

    async def __call__(self) -> str:
        """Return the value for a request.

        Raises Unavailable if the function fails, which may pass: callers that wait for a server
        that is away wait for a token, too. What it returns wrongly is a TypeError or ValueError.
        """
        if self._value is None and callable(self.source):
            try:
                result: object = self.source()
                if inspect.isawaitable(result):
                    result = await result
            except Exception as cause:
                kind = type(cause).__name__
                unavailable = Unavailable(f"the function for the authorization failed: {kind}")
                unavailable.is_unsent = True
                raise unavailable from cause
            if not isinstance(result, str):
                kind = "None" if result is None else type(result).__name__
                raise TypeError(f"the function for the authorization returned {kind}, not a str")
            self._value = self._field(result)
        return self._value or ""

    def renews(self, refused: str) -> bool:
        """Forget a value that got a 401. Return whether there is or will be another one."""
        if not callable(self.source):
            return False
        if self._value == refused:
            self._value = None
        return True


def credential_of(authorization: Authorization | None) -> Credential | None:
    """Return the credential of an argument: one that is shared already stays the same."""
    if authorization is None or isinstance(authorization, Credential):
        return authorization
    return Credential(authorization)


class Endpoint:
    """A URL, and the session, credential and header fields that requests to it have.

    Without a `session` the endpoint makes one of its own, and closes it with the block:
    `async with StreamRequests(url) as s`. A response may take `timeout` seconds to begin, and each
    of its parts as long; a live response `live_timeout`, by default the time of its kind.
    """

    def __init__(
        self,
        url: str,
        *,
        authorization: Authorization | None = None,
        session: aiohttp.ClientSession | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = IDLE_TIMEOUT_S,
        live_timeout: float | None = None,
    ) -> None:
        parsed = checked_url(url)
        check_session(session)
        self.url = url
        self._credential = credential_of(authorization)
        self.authorization = None if self._credential is None else self._credential.source
        self._headers = dict(headers or {})
        self.timeout_s = timeout
        self.live_timeout_s = live_timeout
        self._session = session
        self._is_own_session = False
        # Credentials in the URL become an Authorization too, and there can be only one.
        self._parsed = parsed if authorization is None else parsed.with_user(None)

    @property
    def shown(self) -> str:
        """The URL as it may be printed: without password and query."""
        return shown(self.url)

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session of the requests; RuntimeError where there is none, or a closed one."""
        if self._session is None:
            raise RuntimeError("requests without a session are made in a block: async with")
        if self._session.closed:
            raise RuntimeError(
                "the client, or its session, is closed: end its writers, workers and runs before it"
            )
        return self._session

    async def __aenter__(self) -> Self:
        if self._session is None:
            self._session, self._is_own_session = unlimited_session(), True
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._is_own_session:
            own, self._session = self.session, None
            await own.close()

    def beside(self, url: str) -> Self:
        """Return an endpoint for another URL, with the same connections and credential."""
        return type(self)(
            url,
            authorization=self._credential,
            session=self.session,
            headers=self._headers,
            timeout=self.timeout_s,
            live_timeout=self.live_timeout_s,
        )

    def with_token(self, url: str, token: str) -> Endpoint:
        """Return an endpoint that has a token of its own, and the header fields at this server."""
        is_here = checked_url(url).origin() == self._parsed.origin()
        headers = self._headers if is_here else None
        return Endpoint(url, authorization=f"Bearer {token}", session=self.session, headers=headers)

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        idle_s: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the response to one request; raise StreamError for any failure.

        A 401 did nothing, so the request is repeated once if there may be another credential.
        """
        all_headers = CIMultiDict(self._headers)  # a name in another case is no second field
        all_headers.update(headers or {})
        idle_s = self.timeout_s if idle_s is None else idle_s
        is_renewed = False
        try:
            while True:
                if self._credential is not None:
                    all_headers["Authorization"] = await self._credential()
                session = self.session
                async with session.request(
                    method,
                    with_parameters(self._parsed, query),
                    headers=all_headers,
                    data=BytesIO(body) if body and len(body) > PIECE_BYTES else body,
                    allow_redirects=False,
                    skip_auto_headers=("Content-Type",),
                    timeout=aiohttp.ClientTimeout(
                        total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=idle_s
                    ),
                ) as answer:
                    _answered.add(session)
                    if answer.status == 401 and not is_renewed and self._renews(all_headers):
                        is_renewed = True
                        continue
                    if answer.status >= 300:
                        raise await response_error(answer, self.shown, (query or {}).get("offset"))
                    yield answer
                    return
        except (aiohttp.ClientError, TimeoutError, OSError) as cause:
            is_first = self._session not in _answered
            scheme = self._parsed.scheme
            raise connection_error(cause, self.shown, scheme=scheme, is_first=is_first) from cause

    def _renews(self, headers: Mapping[str, str]) -> bool:
        return self._credential is not None and self._credential.renews(headers["Authorization"])

    def next_offset(self, headers: Mapping[str, str]) -> str:
        """Return the offset to read on from; raise ProtocolError if the response has none."""
        offset = headers.get(NEXT_OFFSET)
        if offset is None:
            raise ProtocolError(
                f"this is not a Durable Streams server: it sent no {NEXT_OFFSET}; check the URL",
                stream=self.shown,
            )
        return offset


def checked_url(url: object) -> URL:
    """Return the URL of a server or stream. Raises TypeError or ValueError for what is not one."""
    if not isinstance(url, str):
        raise not_text(url, f"a URL is a str such as {DEFAULT_BASE}")
    with contextlib.suppress(ValueError):  # whose words have all of the URL
        parsed = URL(url, encoded=True)
        if parsed.scheme in {"http", "https"} and parsed.host:
            return parsed
    wrong = f"a stream has a URL such as http://HOST:PORT/NAME, and {_quoted(url)} is none"
    raise ValueError(wrong if not url or "://" in url else f"{wrong}: write http:// before it")


def checked_base(url: str) -> str:
    """Return the URL that streams are named below. Raises TypeError or ValueError as above.

    A query or a fragment would swallow the names.
    """
    checked_url(url)
    if "?" in url or "#" in url:
        raise ValueError("the URL that streams are named below ends with its path: no ? and no #")
    return url.rstrip("/")


def _checked(value: object) -> str:
    """Return the value of a header field. Raises TypeError or ValueError for what is not one."""
    if not isinstance(value, str):
        raise TypeError(f"an authorization is a str, or a function, not {type(value).__name__}")
    if not NO_FIELD.isdisjoint(value):
        raise ValueError(
            "an authorization is the value of a header field: one line; strip() its line end"
        )
    return value


def check_timeout(name: str, seconds: float) -> None:
    """Raise TypeError or ValueError unless a response may take these seconds to begin."""
    wanted = f"{name} is a number of seconds, more than 0"
    if not isinstance(seconds, int | float):
        raise TypeError(f"{wanted}, and not of the type {type(seconds).__name__}")
    if not seconds > 0:  # as is NaN
        raise ValueError(f"{wanted}, not {seconds}: write math.inf to wait without limit")


def checked_headers(headers: object) -> dict[str, str]:
    """Return header fields for requests. Raises TypeError or ValueError for what is not one."""
    if not isinstance(headers, Mapping | None):
        raise TypeError(f"headers are a dict of str, not {type(headers).__name__}")
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            wrong, kind = ("the value of ", value) if isinstance(name, str) else ("", name)
            raise TypeError(
                f"headers are a dict of str, and {wrong}{name!r} is of the type "
                f"{type(kind).__name__}: write it as a str"
            )
        if not FIELD_NAME.fullmatch(name) or not NO_FIELD.isdisjoint(value):
            raise ValueError(f"{name[:80]!r} is not a header field: one word, and one line of text")
    return dict(headers or {})


def _quoted(url: str) -> str:
    """Return the invalid URL for an error message, or "this" if it may hold a credential."""
    # Without a scheme, nobody can tell where in it a password is; a word alone may be a token.
    is_harmless = not url or ("/" in url and "@" not in url)
    return repr(url.partition("?")[0][:INVALID_URL_CHARACTERS]) if is_harmless else "this"
