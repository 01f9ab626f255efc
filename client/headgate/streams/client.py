"""A client of one server: its streams, runs, chats and workers over the same connections."""

from __future__ import annotations

import contextlib
import os
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypedDict
from urllib.parse import quote, unquote

from typing_extensions import override

from headgate.endpoint import (
    IDLE_TIMEOUT_S,
    Credential,
    check_timeout,
    checked_base,
    checked_headers,
    checked_url,
)
from headgate.errors import check_number
from headgate.misuse import ForAsyncio, check_session, checks_keywords
from headgate.names import (
    AUTHORIZATION_VARIABLE,
    BASE_VARIABLE,
    DEFAULT_BASE,
    IN_NAMES,
    LIST,
    has_quoted_token,
    is_quoted,
    not_text,
    path_url,
    shown,
)
from headgate.sending.framing import check_content_type
from headgate.streams.connection import ClientConnections, origin_of
from headgate.streams.listing import names
from headgate.streams.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import aiohttp
    from typing_extensions import Unpack

    from headgate.chats import Chats
    from headgate.runs import Runs
    from headgate.sending.writer import StreamWriter
    from headgate.streams.messages import StreamIterator
    from headgate.workers import Job, Worker

Token: TypeAlias = "str | Callable[[], str | Awaitable[str]]"
"""A bearer token, or a function, async or not, that returns one: for the first request, and again
after a 401.
"""

RETRIES = 3
_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+(/|$)")


class WriterOptions(TypedDict, total=False):
    """The options of `StreamWriter`."""

    producer_id: str | None
    epoch: int
    flush_interval: float
    max_batch_bytes: int
    max_batch_chunks: int
    max_buffer_bytes: int
    retry_for: float
    note: Callable[[str], None]


class WorkerOptions(TypedDict, total=False):
    """The options of `Worker`."""

    name: str | None
    concurrency: int
    stop_grace: float
    headers: Mapping[str, str] | None
    timeout: float


class Client(ForAsyncio):
    """The streams of one server, over one pool of connections.

    ```python
    async with headgate.Client("http://127.0.0.1:4437/v1/stream") as client:
        orders = await client.create("orders", json=True, ttl=3600)
        await orders.append({"id": 1})
        async for order in orders.follow():
            print(order.value)
    ```

    A stream is named by its path below the base URL, or by its whole URL. The token is sent to the
    server of the base URL only. Without the block, close the client yourself. Used again, it opens
    again, also in another event loop; a forked process has connections of its own.

    Args:
        base_url: The URL below which streams are named; by default that of the variable
            `STREAM_URL`, or `http://127.0.0.1:4437/v1/stream`.
        token: The bearer token of the requests, or a function, async or not, that returns it: it is
            called for the first request and after a 401. By default the variable `STREAM_AUTH` has
            the whole value of `Authorization`.
        headers: Other header fields of all requests, those of runs, chats and workers, too.
        timeout: Seconds that a response may take to begin, and each of its parts; 60 by default.
            With `math.inf` there is no limit. The live reads of `follow` have another one.
        live_timeout: Seconds for which a live read may bring nothing, not even a comment, before
            `follow` connects anew; by default 90 for server-sent events, and 330 for long-polls.
        retries: How often a request is repeated that failed for now; 3 by default. An append is
            repeated only where it cannot be stored twice.
        session: The aiohttp session of the requests; without one, the client makes its own.

    Raises:
        TypeError: An argument is of another type.
        ValueError: The URL or the token is invalid, or a number is out of its range.
    """

    @checks_keywords
    def __init__(  # noqa: PLR0913 - one for each option
        self,
        base_url: str | None = None,
        *,
        token: Token | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = IDLE_TIMEOUT_S,
        live_timeout: float | None = None,
        retries: int = RETRIES,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        base_url = base_url or os.environ.get(BASE_VARIABLE) or DEFAULT_BASE
        self.base_url = checked_base(base_url)
        check_session(session)
        check_timeout("timeout", timeout)
        if live_timeout is not None:
            check_timeout("live_timeout", live_timeout)
        check_number("retries", retries, is_whole=True)
        self._connection = ClientConnections(
            self.base_url,
            _credential(token, self.base_url),
            checked_headers(headers),
            timeout,
            live_timeout,
            retries,
            session,
        )

    @override
    def __repr__(self) -> str:
        return f"Client({shown(self.base_url)!r})"

    async def __aenter__(self) -> Self:
        self._connection.in_this_loop()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all readings of the client, and close its connections."""
        await self._connection.aclose()

    def stream(self, name: str) -> Stream:
        """Return a stream without asking for it.

        Args:
            name: The path of the stream below the base URL, or its whole URL.

        Raises:
            ValueError: No stream can have this name.
        """
        return Stream(self._connection, self._url_of(name), name.lstrip("/"))

    @checks_keywords
    async def create(
        self,
        name: str,
        *,
        json: bool = False,
        content_type: str | None = None,
        ttl: int | None = None,
    ) -> Stream:
        """Create a stream, or return it if it exists with the same configuration.

        Args:
            name: The name or URL of the stream.
            json: Whether its messages are JSON values; else it is a stream of text.
            content_type: Another content type.
            ttl: Whole seconds from the last read or write until the stream expires; None for never.

        Raises:
            Conflict: The stream exists with another configuration.
        """
        if ttl is not None:
            check_number("ttl", ttl, 1, is_whole=True)
        check_content_type(content_type)
        if json and content_type is not None:
            raise ValueError("json=True and content_type name two types: write one of the two")
        stream = self.stream(name)
        await stream._create(content_type or ("application/json" if json else "text/plain"), ttl)
        return stream

    async def open(self, name: str) -> Stream:
        """Return a stream that exists.

        Raises:
            StreamNotFound: There is no such stream.
            Gone: The stream was deleted or has expired.
        """
        stream = self.stream(name)
        await stream.head()
        return stream

    async def delete(self, name: str) -> bool:
        """Delete a stream and all its data; return False if there was none."""
        return await self.stream(name).delete()

    def list(self, prefix: str = "") -> StreamIterator[str]:
        """Return the names of the streams that begin with a text, in the order of their URLs.

        The protocol has no list: this one is Headgate's own. Its route says `listing = "on"`, and
        the token grants `read` on every name with this prefix.

        ```python
        async for name in client.list("rooms/"):
            print(name)
        ```

        Args:
            prefix: The beginning of the names; all streams by default.

        Returns:
            The names, each as `stream` takes it: the whole URL of a stream that no name leads to.

        Raises:
            ValueError: The prefix is a URL.
            NotAuthorized: The token does not permit to read all of them.
            StreamNotFound: The server has no list, or conceals it.
        """
        if not isinstance(prefix, str):
            raise not_text(prefix, "the beginning of a name is a str")
        if prefix.startswith(("http://", "https://")):
            raise ValueError(
                "the beginning of a name is what follows the base URL, such as 'rooms/', and no URL"
            )
        url, begins = path_url(self.base_url, LIST), quote(prefix.lstrip("/"), safe=IN_NAMES)
        requests, waits = self._connection.requests(url), self._connection.waits()
        return self._connection.reading(url, names(requests, waits, begins, self._name_of))

    def writer(self, name: str, **options: Unpack[WriterOptions]) -> StreamWriter:
        """Return a writer of many small chunks to a stream, with the options of `StreamWriter`."""
        from headgate.sending.writer import StreamWriter

        return StreamWriter(self._connection.requests(self._url_of(name)), **options)

    def worker(self, *subscription_ids: str, **options: Unpack[WorkerOptions]) -> Worker:
        """Return a worker for subscriptions, with the options of `Worker`."""
        from headgate.workers import Worker

        made = partial(  # what is in `options`, too, is taken from there
            Worker,
            self.base_url,
            *subscription_ids,
            authorization=self._connection.credential,
            headers=self._connection.headers,
            timeout=self._connection.timeout,
            session=self._connection.in_this_loop().session,
        )
        return made(**options)

    @checks_keywords
    def job(self, wake: Mapping[str, Any], *, lease_ttl: float = 30.0) -> Job:
        """Return a wake of a webhook as a job, whose lease is extended from now on.

        Anybody can send a request to the URL of a webhook: verify its signature before. The block
        asks the server first: if the wake is over, the job has no `pending`, and `is_lost`.

        Args:
            wake: The verified and decoded body of the request.
            lease_ttl: Seconds of the subscription's `lease_ttl_ms`; 30 by default, as there.

        Raises:
            ValueError: This is not a wake of a webhook, or a number is out of its range.
        """
        from headgate.workers.webhook import job_of

        connections = self._connection.in_this_loop()
        job = job_of(
            wake, self._connection.requests(self.base_url), lease_ttl, connections.jobs.discard
        )
        connections.jobs.add(job)
        return job

    @property
    def runs(self) -> Runs:
        """The runs below the base URL; `Runs` itself has more options."""
        from headgate.runs import Runs

        connections = self._connection.in_this_loop()
        if connections.runs is None:
            connections.runs = Runs(
                self.base_url,
                authorization=self._connection.credential,
                headers=self._connection.headers,
                timeout=self._connection.timeout,
                session=connections.session,
            )
        return connections.runs

    @property
    def chats(self) -> Chats:
        """The chats below the base URL, whose answers are `runs`."""
        from headgate.chats import Chats

        return Chats(self.runs)

    def _url_of(self, name: str) -> str:
        if not isinstance(name, str):
            raise not_text(name, "a stream is named by a str")
        if name.startswith(("http://", "https://")):
            checked_url(name)
            return name
        if not name:
            raise ValueError('the name of a stream is empty: write one, such as "orders"')
        if _HOST_AND_PORT.match(name):
            raise ValueError(
                f"{name!r} is not the name of a stream: a URL begins with http:// or https://"
            )
        if not {".", ".."}.isdisjoint(name.split("/")):
            raise ValueError(f"a stream cannot be named {name!r}: write its path without . and ..")
        return path_url(self.base_url, quote(name.lstrip("/"), safe=IN_NAMES))

    def _name_of(self, path: str) -> str:
        """Return the name of the stream at a path below the base URL, or its URL without one."""
        url, name = path_url(self.base_url, path), unquote(path)
        with contextlib.suppress(ValueError):
            if self._url_of(name) == url:
                return name
        return url


def _credential(token: Token | None, base_url: str) -> Credential | None:
    """Return the credential of a bearer token; without one, that of the environment."""
    if token is not None:
        return Credential(token, _bearer)
    authorization = _of_environment(base_url)
    return None if authorization is None else Credential(authorization)


def _bearer(token: str) -> str:
    if not isinstance(token, str):
        raise TypeError(f"a token is a str, or a function, not {type(token).__name__}")
    if token != token.strip():
        raise ValueError("a token has no blank and no line end around it: write token.strip()")
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("a token is one word of printable ASCII, without a scheme such as Bearer")
    if is_quoted(token):
        raise ValueError("a token has no quotes around it: leave them out")
    return f"Bearer {token}"


def _of_environment(base_url: str) -> str | None:
    """Return the value of STREAM_AUTH; beside a STREAM_URL, it is for that server alone."""
    url = os.environ.get(BASE_VARIABLE)
    if url and not url.startswith(("http://", "https://")):
        raise ValueError(f"{BASE_VARIABLE} must be a URL such as {DEFAULT_BASE}")
    if url and origin_of(url) != origin_of(base_url):
        return None
    authorization = os.environ.get(AUTHORIZATION_VARIABLE)
    if authorization and has_quoted_token(authorization):
        raise ValueError(f"{AUTHORIZATION_VARIABLE} has quotes in its text: leave them out")
    return authorization
