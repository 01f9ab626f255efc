"""The streams that an examination makes and removes, and those who read them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit, urlunsplit

from headgate.errors import StreamError, Unavailable
from headgate.names import (
    AUTHORIZATION_VARIABLE,
    CLOSED,
    EXPIRES_AT,
    NEXT_OFFSET,
    is_closed,
    with_scheme,
)
from headgate.stream_requests import StreamRequests
from headgate_doctor.evidence import AnswerSource, source
from headgate_doctor.finding import ProbeFailed
from headgate_doctor.probe_sender import USUAL, ProbeBounds, exchange
from headgate_doctor.server_names import READER_COOKIE, READER_KEY
from headgate_doctor.target import ExaminedTarget

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from typing import Any

    from headgate_doctor.probe_sender import ProbeReply, ProbeSender

OCTETS = "application/octet-stream"
TEXT = "text/plain"
# Should the program be killed, its streams go by themselves. A time to live would do that, too, but
# reads renew it, so that no cache may keep them. An hour is more than most clocks are apart.
LIFETIME = timedelta(hours=1)
# Short, since after Ctrl-C a person waits for the prompt.
REMOVAL_S = 8.0
PAUSE_BEFORE_RETRY_S = 1.0
GONE = {404, 410}
READER_VARIABLE = "STREAM_READ_AUTH"


class NotMade(ProbeFailed):
    """A stream was not created; the answer says why."""

    def __init__(self, sentence: str, reply: ProbeReply) -> None:
        super().__init__(sentence)
        self.reply = reply


class AppendRefused(ProbeFailed):
    """An append was refused; the answer says why."""

    def __init__(self, reply: ProbeReply) -> None:
        super().__init__(f"an append was answered with: {reply.error_text}")
        self.reply = reply


class AppendNotSent(ProbeFailed):
    """A hop answered an append from a copy, and did not send it to the server."""


@dataclass(frozen=True, slots=True)
class OwnStream:
    """A stream of the examination's own, and the offset at which it began."""

    asker: ProbeSender
    stream: StreamRequests
    content_type: str
    start: str
    # The value of `rk` that the server sends for URLs of readers; None without reader keys.
    reader_key: str | None = None

    async def append(self, body: bytes, *, close: bool = False, bounds: ProbeBounds = USUAL) -> str:
        """Append, with `close` also close, and return the next offset.

        Raises AppendRefused, and AppendNotSent if a copy is the response.
        """
        headers = {"Content-Type": self.content_type} | ({CLOSED: "true"} if close else {})
        reply = await self.asker.send(
            self.stream, "POST", headers=headers, body=body, bounds=bounds
        )
        if not reply.is_good:
            raise AppendRefused(reply)
        if source(reply) is AnswerSource.SHARED:
            raise AppendNotSent("an append was answered from a copy of another response")
        if NEXT_OFFSET in reply.headers:
            return reply.headers[NEXT_OFFSET]
        # A hop has removed it, of which there is a check; the others go on.
        head = await self.asker.send(self.stream, "HEAD", bounds=bounds)
        return self.stream.next_offset(head.headers)

    async def read(
        self,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        bounds: ProbeBounds = USUAL,
    ) -> ProbeReply:
        """Return the reply to a read."""
        return await self.asker.send(
            self.stream, "GET", query=query, headers=headers, bounds=bounds
        )

    def with_raw_query(self, query: str) -> StreamRequests:
        """Return this stream with these parameters as they are."""
        return with_raw_query(self.stream, query)

    def as_somebody(self, authorization: str | None) -> StreamRequests:
        """Return this stream for requests with other credentials, or with none."""
        parts = urlsplit(self.stream.url)
        url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        return StreamRequests(url, authorization=authorization, session=self.stream.session)


class OwnStreams:
    """The streams of an examination, which have random names and are removed at its end."""

    def __init__(self, asker: ProbeSender, first: StreamRequests) -> None:
        self._asker = asker
        self._first = first
        self._made: list[StreamRequests] = []
        # Of a new stream: 201, unless a hop changes it, of which there is a check.
        self._created = {201}

    def planned(self, suffix: str) -> StreamRequests:
        """Return a stream that does not exist before it is created."""
        url, mark, query = self._first.url.partition("?")
        return self._first.beside(f"{url}{suffix}{mark}{query}")

    def planned_to_be_made(self, suffix: str) -> StreamRequests:
        """Return a stream that a check makes itself, and that is removed like all others."""
        self._asker.budget.promise()
        stream = self.planned(suffix)
        self._made.append(stream)
        return stream

    async def create(self, suffix: str = "", content_type: str = OCTETS) -> OwnStream:
        """Create an empty stream. Raises NotMade if the server refuses."""
        stream = self.planned(suffix)
        self._asker.budget.spend(promise=True)
        # Before the request is sent: an interrupted one may have created the stream.
        self._made.append(stream)
        headers = {"Content-Type": content_type, EXPIRES_AT: end_of_lifetime()}
        try:
            reply = await exchange(stream, "PUT", headers=headers)
        except StreamError as refusal:
            if isinstance(refusal, Unavailable) and refusal.is_unsent:
                self._made.remove(stream)
            raise
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
            self._asker.limited.append(reply)
        offset = reply.headers.get(NEXT_OFFSET)
        if not self._made[1:] and reply.is_good and NEXT_OFFSET in reply.headers:
            self._created.add(reply.status)  # the first one, with a random name
        if reply.status not in self._created or offset is None or is_closed(reply.headers):
            if 300 <= reply.status < 500 or reply.status == 501:
                self._made.remove(stream)  # refused: a stream of this name is not ours
            error_text = reply.error_text or (
                f"{reply.status}, where 201 with a {NEXT_OFFSET} was expected, which no hop may "
                "take away"
            )
            raise NotMade(f"a new stream was answered with: {error_text}", reply)
        reader_key = reply.headers.get(READER_KEY)
        return OwnStream(self._asker, stream, content_type, offset, reader_key)

    async def create_closed(self, suffix: str, data: bytes) -> OwnStream:
        """Create a closed stream with `data`, whose reads caches may store for long.

        Raises NotMade or AppendRefused if the server refuses.
        """
        own = await self.create(suffix)
        await own.append(data, close=True)
        return own

    async def remove(self) -> list[str]:
        """Remove all streams; return the URLs, without secrets, of those that may be left."""
        made, self._made = self._made, []
        removals = [asyncio.create_task(self._is_removed(stream)) for stream in made]
        if removals:
            await asyncio.wait(removals, timeout=REMOVAL_S)
        for removal in removals:
            removal.cancel()
        outcomes = await asyncio.gather(*removals, return_exceptions=True)
        return [
            stream.shown
            for stream, is_removed in zip(made, outcomes, strict=True)
            if is_removed is not True
        ]

    async def _is_removed(self, stream: StreamRequests) -> bool:
        self._asker.budget.redeem()
        with contextlib.suppress(StreamError):
            reply = await exchange(stream, "DELETE", bounds=ProbeBounds(within_s=REMOVAL_S))
            if reply.is_good or reply.status in GONE:
                return True
            if reply.status != 429 and reply.status < 500:
                return False
        await asyncio.sleep(PAUSE_BEFORE_RETRY_S)
        reply = await self._asker.send(stream, "DELETE")
        return reply.is_good or reply.status in GONE


def with_raw_query(stream: StreamRequests, query: str) -> StreamRequests:
    """Return the stream with these parameters as they are, after those of its URL."""
    parts = urlsplit(stream.url)
    whole = "&".join(part for part in (parts.query, query) if part)
    return stream.beside(urlunsplit(parts._replace(query=whole)))


def end_of_lifetime(lifetimes: int = 1) -> str:
    """Return the moment at which a stream that is made now expires."""
    now = datetime.now(UTC)  # noqa: TID251 - there is no caller to hand a clock down
    return (now + lifetimes * LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ")


def first_target(url: str, environment: Mapping[str, str], ca_file: str = "") -> ExaminedTarget:
    """Return a stream with a random name below `url`. Raises ValueError if that is no such URL."""
    if re.match(r"https?://", url, re.IGNORECASE) is None:
        meant = with_scheme(url if "/" in url else f"{url}/v1/stream")
        hint = f": write {meant}" if meant else ", http://HOST/v1/stream"
        raise ValueError(f"it must be the URL below which streams are{hint}")
    home, mark, query = url.partition("#")[0].partition("?")
    name = f"headgate-doctor-{secrets.token_hex(8)}"
    at = f"{home.rstrip('/')}/{name}{mark}{query}"
    return ExaminedTarget.at(at, environment, ca_file)


def reader_of(url: str, environment: Mapping[str, str]) -> str | None:
    """Return the Authorization of READER_VARIABLE, if the server of the URL may learn it."""
    given = {**environment, AUTHORIZATION_VARIABLE: environment.get(READER_VARIABLE, "")}
    return first_target(url, given).authorization


T = TypeVar("T")


async def given_time(work: Coroutine[Any, Any, T], own: OwnStream, within_s: float) -> T:
    """Return the result of `work`, also after `within_s` if the line is slow.

    At the time limit a read of the stream is sent. Raises TimeoutError if its reply comes before
    the result: then the line is fast enough, and only `work` is late.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task], timeout=within_s)
        if not task.done():
            await own.read({"offset": own.start})
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass(frozen=True, slots=True, eq=False)
class ProbeReader:
    """A reader: how it is named, the stream with its Authorization, and its other headers."""

    name: str
    stream: StreamRequests
    headers: Mapping[str, str]

    async def read(
        self, own: OwnStream, query: Mapping[str, str], bounds: ProbeBounds = USUAL
    ) -> ProbeReply:
        """Return the reply to a read of `own`, to which the stream of this reader leads."""
        return await own.asker.send(
            self.stream, "GET", query=query, headers=self.headers, bounds=bounds
        )


def strangers(own: OwnStream) -> list[ProbeReader]:
    """Return readers that may read nothing private."""
    nobody = own.as_somebody(None)
    return [
        ProbeReader("no credentials", nobody, {}),
        ProbeReader("a made-up Authorization", own.as_somebody(made_up_credential()), {}),
        ProbeReader("a made-up Cookie", nobody, {"Cookie": f"session=doctor; {made_up_cookie()}"}),
    ]


def made_up_credential() -> str:
    """Return an Authorization that nobody has."""
    return f"Bearer doctor-{secrets.token_hex(8)}"


def made_up_cookie() -> str:
    """Return a cookie that counts everywhere: for the gateway's own streams no other one does."""
    return f"{READER_COOKIE}=doctor-{secrets.token_hex(8)}"
