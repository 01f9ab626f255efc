"""A client of the gateway's own listener: what the console reads and writes, any client can."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import msgspec
from yarl import URL

from headgate_admin.errors import ConsoleError, shown_status
from headgate_admin.model.streams import MessagePlace, Messages
from headgate_admin.streams.credentials import Credentials
from headgate_admin.streams.messages import split
from headgate_gateway import trust
from headgate_gateway.errors import NO_STREAM, BadRequest
from headgate_gateway.protocol.bodies.content import check_content_type
from headgate_gateway.protocol.http.header_names import STREAM_ID
from headgate_gateway.protocol.http.paths import canonical_path
from headgate_gateway.protocol.streams.offsets import BEGINNING, format_offset, parse_offset

if TYPE_CHECKING:
    import ssl
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Mapping,
    )

    from headgate_admin.model.streams import ShownMessage
    from headgate_gateway.features.questions.process_source import Setup

_RANGE = re.compile(r'"[0-9a-f]+:(\d{16}_\d{16}):(\d{16}_\d{16})(?::[a-z]+)?"', re.ASCII)
# Limits count by address, and other programs of this machine, such as a proxy with all of its
# clients, have 127.0.0.1. On Linux all of 127.0.0.0/8 is there to be used; whoever comes from here
# is a client like others.
CONSOLE_ADDRESS = "127.0.44.39"
LATEST = "latest"  # of the console alone: as far before the tail as a screen shows
LATEST_BYTES = 64 << 10
# A chunk is 256 KiB and the rest of an append, of which the largest are cut.
LONGEST_BODY = 4 << 20
LONGEST_PROBLEM = 16 << 10
MOST_READS = 8  # to come from the last bytes to the tail
MOST_CONNECTIONS = 64  # of all users; live tails have their own
MOST_TAILS = 100  # half of those who may listen: the page around a tail listens, too
# `connect` bounds the wait for one of the connections as well.
TIMEOUT = aiohttp.ClientTimeout(total=None, connect=5, sock_read=30)
# The server ends a long-poll after at most 300 s (long_poll_timeout).
POLL_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=5, sock_read=330)


class ShownProblem(msgspec.Struct):
    """The part of a problem (RFC 9457) that is shown."""

    detail: str = ""


class ChunkReply(NamedTuple):
    """The response to a read: its body, the offsets around it, and whether it ends the stream.

    `start` is "" where the server does not say at which offset the body begins.
    """

    content_type: str
    body: bytes
    is_whole: bool  # else the body is cut
    start: str
    next_offset: str
    up_to_date: bool
    closed: bool

    def messages(self) -> list[ShownMessage]:
        """Return the body as messages that can be shown."""
        return split(
            self.content_type,
            self.body,
            whole=self.is_whole,
            next_offset=self.next_offset,
            start=self.start,
        )


class StreamClient:
    """A client that is open from `open` to `close`. Each of its methods raises ConsoleError."""

    def __init__(self, setup: Setup) -> None:
        settings = setup.settings
        self._setup = setup
        self._trusted: ssl.SSLContext | None = None
        host = settings.listen.reached_at
        scheme = "https" if settings.tls.certificate else "http"
        self._base = URL.build(scheme=scheme, host=host, port=settings.listen.port)
        self._own_address = own_address(host)
        self._marking = setup.console.marking
        self._credentials = Credentials(setup)
        self._session: aiohttp.ClientSession | None = None
        self._tail_session: aiohttp.ClientSession | None = None
        self._tails = 0

    async def open(self) -> None:
        """Make the sessions for requests."""
        certificate = self._setup.settings.tls.certificate  # the path of its file
        if certificate:
            self._trusted = trust.own_listener(certificate)
        made = (self._session_of(most) for most in (MOST_CONNECTIONS, MOST_TAILS))
        self._session, self._tail_session = made

    def _session_of(self, most: int) -> aiohttp.ClientSession:
        """Return a session over at most `most` connections, whose requests have the mark."""
        local, trusted = self._own_address, self._trusted or True
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=most, local_addr=None if local is None else (local, 0), ssl=trusted
            ),
            headers={"User-Agent": "headgate-console", **self._marking},
        )

    async def close(self) -> None:
        """End every request and connection."""
        for session in (self._session, self._tail_session):
            if session is not None:
                await session.close()

    async def messages(self, path: str, place: MessagePlace, limit: int) -> Messages:
        """Return the messages from a place on; from LATEST the last ones, if offsets show them."""
        if place.offset == LATEST:
            return await self._latest(path, limit)
        return _page(place, await self.fetch(path, place.offset), limit)

    async def follow(self, path: str, offset: str) -> AsyncGenerator[Messages]:
        """Yield the messages after an offset as they are appended, until the stream is closed."""
        if self._tails >= MOST_TAILS:
            raise ConsoleError(503, "too many follow streams here: close a page")
        self._tails += 1
        try:
            while True:
                read = await self.fetch(path, offset, live=True)
                yield _page(MessagePlace(offset), read, None)
                if read.closed and read.up_to_date:
                    return
                offset = read.next_offset
        finally:
            self._tails -= 1

    async def append(self, path: str, content_type: str, body: bytes) -> str:
        """Append, by default with the stream's own content type; return the next offset."""
        if not content_type:
            async with self._request("HEAD", path) as answer:
                content_type = answer.headers.get("Content-Type", "")
        headers = {"Content-Type": checked(content_type)}
        async with self._request("POST", path, headers=headers, body=body) as answer:
            return answer.headers.get("Stream-Next-Offset", "")

    async def create(self, path: str, headers: Mapping[str, str]) -> bool:
        """Create a stream with these fields of a PUT; return False if it was there already."""
        async with self._request("PUT", path, headers=headers, body=b"") as answer:
            return answer.status == 201

    async def close_stream(self, path: str) -> str:
        """Close the stream, and return its final offset."""
        async with self._request("POST", path, headers={"Stream-Closed": "true"}) as answer:
            return answer.headers.get("Stream-Next-Offset", "")

    async def delete(self, path: str, stream_id: str = "", authorization: str = "") -> None:
        """Delete the stream; with `stream_id` only if it is the one with this id.

        The `authorization` is for a route that verifies no tokens: its origin may do so.
        """
        fields = {STREAM_ID: stream_id, "Authorization": authorization}
        headers = {name: value for name, value in fields.items() if value}
        async with self._request("DELETE", path, headers=headers):
            return

    async def stop_run(self, path: str) -> bool:
        """Ask the producer of a run to stop; return False if nobody produces it."""
        # To import the library's part for runs takes a tenth of a second.
        stop = (await asyncio.to_thread(import_module, "headgate_admin.streams.run_stops")).stop
        session = self._session
        assert session is not None, "not open"
        self._renew_trust()
        url = str(self._base.join(URL(path, encoded=True)))
        authorization = self._credentials.of(path).get("Authorization")
        is_asked: bool = await stop(url, authorization, session)
        return is_asked

    def _renew_trust(self) -> None:
        """Trust the listener's certificate as it is now. Raises OSError."""
        if self._trusted is not None:
            self._trusted.load_verify_locations(self._setup.settings.tls.certificate)

    async def _latest(self, path: str, limit: int) -> Messages:
        async with self._request("HEAD", path) as answer:
            offset = before(answer.headers.get("Stream-Next-Offset", ""))
        try:
            read = await self.fetch(path, offset)
        except ConsoleError as refusal:
            if refusal.status not in {400, 410}:  # retention has removed what is there
                raise
            offset = BEGINNING
            read = await self.fetch(path, offset)
        for _ in range(MOST_READS):
            if read.up_to_date:
                break
            following = await self.fetch(path, read.next_offset)
            if not following.messages():
                break
            offset, read = read.next_offset, following
        messages = read.messages()
        return _page(MessagePlace(offset, max(0, len(messages) - limit)), read, limit)

    async def fetch(self, path: str, offset: str, *, live: bool = False) -> ChunkReply:
        """Return the response to a read from an offset on; its body is cut at LONGEST_BODY bytes.

        Raises ConsoleError.
        """
        query = {"live": "long-poll", "offset": offset} if live else {"offset": offset}
        async with self._request("GET", path, query=query, live=live) as answer:
            body = await _at_most(answer, LONGEST_BODY)
            headers = answer.headers
            next_offset = headers.get("Stream-Next-Offset", "")
            return ChunkReply(
                headers.get("Content-Type", ""),
                body[:LONGEST_BODY],
                len(body) <= LONGEST_BODY,
                start_of(headers.get("ETag", ""), next_offset),
                next_offset,
                headers.get("Stream-Up-To-Date", "").lower() == "true",
                headers.get("Stream-Closed", "").lower() == "true",
            )

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        live: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        session = self._tail_session if live else self._session
        assert session is not None, "not open"
        url = self._base.join(URL(path, encoded=True)).with_query(query)
        try:
            self._renew_trust()
            async with session.request(
                method,
                url,
                headers={**(headers or {}), **self._credentials.of(path)},
                data=body,
                allow_redirects=False,
                skip_auto_headers=("Content-Type",),
                timeout=POLL_TIMEOUT if live else TIMEOUT,
            ) as answer:
                if answer.status >= 300:
                    why = self._credentials.explained(path, answer.status, await _why(answer))
                    raise ConsoleError(shown_status(answer.status), why)
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as cause:
            raise ConsoleError(502, f"the listener for streams does not answer: {cause}") from cause


def own_address(host: str) -> str | None:
    """Return the console's source address for streams at this host; None for any address."""
    if host != "127.0.0.1":
        return None
    with socket.socket() as probe:
        try:
            probe.bind((CONSOLE_ADDRESS, 0))
        except OSError:  # as on macOS
            return None
    return CONSOLE_ADDRESS


def canonical(route: str, name: str) -> tuple[str, str]:
    """Return a stream's path and name in the gateway's form. Raises ConsoleError."""
    try:
        path = canonical_path(f"{route}/{name}".replace("?", "%3F").replace("#", "%23"))
    except BadRequest as refusal:
        raise ConsoleError(400, refusal.detail) from refusal
    return path, path[len(route) + 1 :]


def start_of(etag: str, next_offset: str) -> str:
    """Return the offset at which a response of a Headgate begins, by its ETag; else ""."""
    match = _RANGE.fullmatch(etag)
    return match[1] if match is not None and match[2] == next_offset else ""


def checked(content_type: str) -> str:
    """Return a content type that is well-formed. Raises ConsoleError."""
    try:
        return check_content_type(content_type)
    except BadRequest as refusal:
        raise ConsoleError(400, refusal.detail) from refusal


def before(tail: str) -> str:
    """Return an offset LATEST_BYTES before a tail; the beginning if offsets do not count bytes."""
    try:
        offset = parse_offset(tail, "offset")
    except BadRequest:
        return BEGINNING
    if offset.position <= LATEST_BYTES:
        return BEGINNING
    return format_offset(offset.generation, offset.position - LATEST_BYTES)


def _page(begin: MessagePlace, read: ChunkReply, limit: int | None) -> Messages:
    """Return messages of a response from a place in it on, all or at most `limit`."""
    messages = read.messages()[begin.skip :]
    shown = messages[:limit]
    rest = len(messages) - len(shown)
    behind: MessagePlace | None = None
    if rest > 0:
        behind = MessagePlace(begin.offset, begin.skip + len(shown))
    elif not read.up_to_date:
        behind = MessagePlace(read.next_offset)
    at_end = behind is None
    return Messages(
        read.content_type,
        begin,
        tuple(shown),
        behind,
        read.next_offset if at_end else None,
        closed=read.closed and at_end,
    )


async def _at_most(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """Read the body, or one byte more than `most` of a longer one."""
    parts, size = [], 0
    async for part in answer.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > most:
            answer.close()
            break
    return b"".join(parts)[: most + 1]


async def _why(answer: aiohttp.ClientResponse) -> str:
    body = await _at_most(answer, LONGEST_PROBLEM)
    try:
        detail = msgspec.json.decode(body, type=ShownProblem).detail
    except ValueError:
        detail = ""
    if not detail and answer.status == 404:
        return NO_STREAM  # the answer to a HEAD has no body
    return detail or f"the stream's server answers {answer.status} {answer.reason}"
