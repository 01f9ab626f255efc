"""A client of one server for threads: its streams, to append to, to read and to follow.

Made by `python -m scripts.sync_twins` from `headgate.streams.client`, `headgate.streams.stream`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import headgate.runs.runs
import headgate.streams.client
import headgate.streams.stream
from headgate.endpoint import (
    IDLE_TIMEOUT_S,
)
from headgate.misuse import checks_keywords
from headgate.names import (
    BEGINNING,
)
from headgate.streams.client import RETRIES, Token
from headgate.sync.chats import Chats
from headgate.sync.loop_thread import current
from headgate.sync.runs import Runs
from headgate.sync.twins import StreamIterator, Twin
from headgate.sync.workers import Job, Worker
from headgate.sync.writer import StreamWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from typing_extensions import Unpack

    from headgate.following import Batch
    from headgate.stream_requests import Metadata
    from headgate.streams.client import WorkerOptions, WriterOptions
    from headgate.streams.messages import Message


class Client(Twin["headgate.streams.client.Client"]):
    """The streams of one server, over one pool of connections.

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

    Raises:
        TypeError: An argument is of another type.
        ValueError: The URL or the token is invalid, or a number is out of its range.
    """

    @checks_keywords
    def __init__(
        self,
        base_url: str | None = None,
        *,
        token: Token | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = IDLE_TIMEOUT_S,
        live_timeout: float | None = None,
        retries: int = RETRIES,
    ) -> None:
        twin = headgate.streams.client.Client(
            base_url,
            token=token,
            headers=headers,
            timeout=timeout,
            live_timeout=live_timeout,
            retries=retries,
        )
        super().__init__(twin, lambda: twin)
        self.base_url = self._twin.base_url

    def close(self) -> None:
        """End all readings of the client, and close its connections."""
        self._close(lambda twin: twin.aclose())

    def stream(self, name: str) -> Stream:
        """Return a stream without asking for it.

        Args:
            name: The path of the stream below the base URL, or its whole URL.

        Raises:
            ValueError: No stream can have this name.
        """
        return Stream(self._get(lambda twin: twin.stream(name)))

    @checks_keywords
    def create(
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
        return Stream(
            self._call(
                lambda twin: twin.create(name, json=json, content_type=content_type, ttl=ttl)
            )
        )

    def open(self, name: str) -> Stream:
        """Return a stream that exists.

        Raises:
            StreamNotFound: There is no such stream.
            Gone: The stream was deleted or has expired.
        """
        return Stream(self._call(lambda twin: twin.open(name)))

    def delete(self, name: str) -> bool:
        """Delete a stream and all its data; return False if there was none."""
        return self._call(lambda twin: twin.delete(name))

    def list(self, prefix: str = "") -> StreamIterator[str]:
        """Return the names of the streams that begin with a text, in the order of their URLs.

        The protocol has no list: this one is Headgate's own. Its route says `listing = "on"`, and
        the token grants `read` on every name with this prefix.

        Args:
            prefix: The beginning of the names; all streams by default.

        Returns:
            The names, each as `stream` takes it: the whole URL of a stream that no name leads to.

        Raises:
            ValueError: The prefix is a URL.
            NotAuthorized: The token does not permit to read all of them.
            StreamNotFound: The server has no list, or conceals it.
        """
        return StreamIterator(self._get(lambda twin: twin.list(prefix)))

    def writer(self, name: str, **options: Unpack[WriterOptions]) -> StreamWriter:
        """Return a writer of many small chunks to a stream, with the options of `StreamWriter`."""
        return StreamWriter._of(self._get(lambda twin: twin.writer(name, **options)))

    def worker(self, *subscription_ids: str, **options: Unpack[WorkerOptions]) -> Worker:
        """Return a worker for subscriptions, with the options of `Worker`."""
        return Worker._of(self._get(lambda twin: twin.worker(*subscription_ids, **options)))

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
        return Job(self._get(lambda twin: twin.job(wake, lease_ttl=lease_ttl)))

    @cached_property
    def runs(self) -> Runs:
        """The runs below the base URL; `Runs` itself has more options."""
        return Runs._of(
            headgate.runs.runs.Runs(self.base_url),
            lambda: current().entered.setdefault(self, self._twin).runs,
        )

    @cached_property
    def chats(self) -> Chats:
        """The chats below the base URL, whose answers are `runs`."""
        return Chats(self.runs)


class Stream(Twin["headgate.streams.stream.Stream"]):
    """A stream of a `Client`.

    Attributes:
        name: The path of the stream below the base URL, or its whole URL, as the client got it.
        url: The URL of the stream.
    """

    def __init__(self, twin: headgate.streams.stream.Stream) -> None:
        """Use `Client.stream`, `create` or `open`."""
        super().__init__(twin, lambda: twin)
        self.name = self._twin.name
        self.url = self._twin.url

    def head(self) -> Metadata:
        """Return the metadata of the stream: its content type, its tail and its end.

        Raises:
            StreamNotFound: There is no such stream.
            Gone: The stream was deleted or has expired.
        """
        return self._call(lambda twin: twin.head())

    def append(self, message: object) -> str | None:
        """Append one message, and wait until it is stored.

        Args:
            message: In a JSON stream a dict, list, number, bool or None, or bytes that are JSON
                text; in a stream of text a str; in any stream bytes.

        Returns:
            The offset after the message; None if an earlier response with it was lost.

        Raises:
            TypeError: The stream cannot hold a message of this type.
            ValueError: The message has no encoding, or is empty.
            Closed: The stream is closed.
            TooLarge: The message is larger than the server takes.
            Unavailable: The server is away. It is not known whether the message is stored, except
                where it `is_unsent`. It is never stored twice, nor after a later one.
        """
        return self._call(lambda twin: twin.append(message))

    def append_many(self, messages: Iterable[object]) -> str | None:
        """Append messages in as few requests as they need, and wait until all are stored.

        Args:
            messages: As of `append`. All are encoded before the first is sent.

        Returns:
            The offset after the last one; None without messages.

        Raises:
            StreamError: As of `append`: the messages of earlier requests are stored.
        """
        return self._call(lambda twin: twin.append_many(messages))

    def close(self) -> str | None:
        """Close the stream: it takes no more messages, and its readers come to the end.

        A stream that is closed already stays closed.

        Returns:
            The final offset.
        """
        return self._call(lambda twin: twin.close())

    def delete(self) -> bool:
        """Delete the stream and all its data; return False if there was none."""
        return self._call(lambda twin: twin.delete())

    def read(self, offset: str | Message = BEGINNING) -> StreamIterator[Message]:
        """Return the messages from a place to the current tail.

        Args:
            offset: The offset of a message, or the message itself, to continue after; `-1` for the
                beginning.

        Raises:
            StreamNotFound: There is no such stream.
            Gone: The stream, or what is at the offset, is gone.
            ProtocolError: What is in a JSON stream is not JSON.
        """
        return StreamIterator(self._get(lambda twin: twin.read(offset)))

    def tail(self, count: int) -> StreamIterator[Message]:
        """Return the last messages of a stream, which is read from its beginning.

        Args:
            count: How many messages at most; of a stream that has no messages, parts as they come.
        """
        return StreamIterator(self._get(lambda twin: twin.tail(count)))

    def follow(self, offset: str | Message = BEGINNING) -> StreamIterator[Message]:
        """Return the messages from a place on until the stream is closed, as they are appended.

        Lost connections are made again, for as long as it takes, and no message comes twice.

        Args:
            offset: The offset of a message, or the message itself, to continue after; `-1` for the
                beginning, `now` for what is appended from now on.

        Raises:
            StreamNotFound: There is no such stream.
            Gone: The stream was deleted or has expired meanwhile.
            ProtocolError: What is in a JSON stream is not JSON.
        """
        return StreamIterator(self._get(lambda twin: twin.follow(offset)))

    def follow_bytes(self, offset: str = BEGINNING) -> StreamIterator[Batch]:
        """Return the batches of the server's responses until the stream is closed, as they come.

        Args:
            offset: The offset to begin at, of an earlier batch; `-1` for the beginning, `now`
                for the current tail.
        """
        return StreamIterator(self._get(lambda twin: twin.follow_bytes(offset)))
