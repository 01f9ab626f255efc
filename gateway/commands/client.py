"""HTTP requests to one stream; whatever goes wrong becomes one sentence."""

from __future__ import annotations

import contextlib
import json
import os
import re
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from gateway import trust
from gateway.commands.failure import Failed
from gateway.protocol.header_names import CLOSED, FORKED_FROM, NEXT_OFFSET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.commands.target import Target

CONNECT_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 60.0
# Of an error's body only one sentence is wanted.
ERROR_BODY_BYTES = 1 << 16
SENTENCE_CHARACTERS = 300
# Servers speak of fields; whoever typed the command knows them as these.
OPTIONS = {
    "Content-Type": "--content-type",
    "Producer-Epoch": "--epoch",
    "Producer-Id": "--producer",
    "Stream-Expires-At": "--expires-at",
    "Stream-Fork-Offset": "--fork-offset",
    "Stream-Fork-Sub-Offset": "--fork-sub-offset",
    FORKED_FROM: "--fork-from",
    NEXT_OFFSET: "next offset",
    "Stream-Seq": "--seq",
    "Stream-TTL": "--ttl",
}
FIELD = re.compile(rf"\b({'|'.join(OPTIONS)})\b(?!-)")
WORDS = {
    401: "the server wants an Authorization",
    403: "the server forbids it",
    404: "there is no such stream",
    410: "the stream is gone",
}

CAUSES: dict[type[Exception], str] = {
    TimeoutError: "no answer in time",
    aiohttp.ClientConnectorDNSError: "the host name is unknown",
    aiohttp.ServerDisconnectedError: "the connection was lost",
    aiohttp.ClientPayloadError: "the connection was lost",
    aiohttp.ClientResponseError: "what it answered is not valid HTTP",
}


class RequestRefused(Failed):
    """The server, or the way to it, refused a request."""

    def __init__(
        self, sentence: str, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = headers or {}

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status is None or self.status == 429 or self.status >= 500

    @property
    def retry_after_s(self) -> float:
        """How long the server asked to be left alone."""
        text = self.headers.get("Retry-After", "")
        if text.isdecimal():
            return float(text)
        # A moment is told by the server's clock, so it is compared with the server's clock.
        moments = [parsedate_tz(moment) for moment in (text, self.headers.get("Date", ""))]
        until, now = [None if moment is None else mktime_tz(moment) for moment in moments]
        return 0.0 if until is None or now is None else max(0.0, float(until - now))


class Stream:
    """One stream on a server, by the operations of the protocol."""

    def __init__(self, session: aiohttp.ClientSession, target: Target) -> None:
        self._session = session
        self.target = target
        url = URL(target.url, encoded=True)
        # Credentials in the URL become an Authorization too, and there can be only one.
        self._url = url if target.authorization is None else url.with_user(None)

    def beside(self, target: Target) -> Stream:
        """Another stream, asked over the same connections."""
        return Stream(self._session, target)

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        idle_s: float = IDLE_TIMEOUT_S,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to one request; Refused for errors and for whatever breaks on the way."""
        all_headers = dict(headers or {})
        if self.target.authorization is not None:
            all_headers["Authorization"] = self.target.authorization
        try:
            async with self._session.request(
                method,
                # Sorted, so that equal requests have equal URLs in every cache on the way.
                self._url.update_query(sorted((query or {}).items())),
                headers=all_headers,
                data=body,
                allow_redirects=False,
                skip_auto_headers=("Content-Type",),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=idle_s
                ),
            ) as answer:
                if answer.status >= 300:
                    said = await _said(answer, self.target)
                    raise RequestRefused(
                        f"{self.target.shown}: {said}", answer.status, answer.headers
                    )
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as cause:
            raise RequestRefused(f"{self.target.shown}: {_words(cause)}") from cause

    async def head(self) -> Mapping[str, str]:
        """The stream's metadata, as header fields."""
        try:
            async with self.request("HEAD") as answer:
                return answer.headers
        except RequestRefused as refusal:
            raise await self._told(refusal) from refusal

    async def _told(self, refusal: RequestRefused) -> RequestRefused:
        """The refusal of a HEAD in the server's words: only that of a GET has a body for them."""
        if refusal.status is None:
            return refusal
        try:
            async with self.request("GET", query={"offset": "now"}):
                return refusal
        except RequestRefused as told:
            return told if told.status == refusal.status else refusal

    def next_offset(self, headers: Mapping[str, str]) -> str:
        """Where to read on; its absence means that no Durable Streams server answered."""
        offset = headers.get(NEXT_OFFSET)
        if offset is None:
            raise Failed(
                f"{self.target.shown}: this is no Durable Streams server: "
                "it sent no Stream-Next-Offset"
            )
        return offset


@contextlib.asynccontextmanager
async def connect(target: Target, *, as_sent: bool = False) -> AsyncIterator[Stream]:
    """The stream, with a session that ends with the block.

    Requests are what they are `as_sent`, when that is asked for: none is repeated after a lost
    connection, and none has a cookie that was set before.
    """
    tls = trust.context() if target.url.startswith("https:") else True
    connector = aiohttp.TCPConnector(ssl=tls)
    headers = {"User-Agent": "headgate"}
    jar = aiohttp.DummyCookieJar() if as_sent else None
    async with aiohttp.ClientSession(
        connector=connector, headers=headers, cookie_jar=jar
    ) as session:
        if as_sent:
            session._retry_connection = False  # there is no public way to say so
        yield Stream(session, target)


def is_closed(headers: Mapping[str, str]) -> bool:
    """Whether the answer says that the stream has ended."""
    return headers.get(CLOSED, "").lower() == "true"


async def _said(answer: aiohttp.ClientResponse, target: Target) -> str:
    body = await answer.content.read(ERROR_BODY_BYTES)
    detail = _detail(answer.content_type, body.decode(errors="replace")).rstrip(".")
    # The answer to HEAD has no body that could tell.
    detail = detail or WORDS.get(answer.status, "the server refused")
    if answer.status == 401:
        detail = f"{detail}; {target.advice}"
    return f"{detail} ({answer.status} {answer.reason})"


def _detail(content_type: str, text: str) -> str:
    """What the body of an error says, on one line and harmless to a terminal."""
    if content_type.endswith("json"):
        with contextlib.suppress(ValueError):
            problem = json.loads(text)
            if isinstance(problem, dict):
                text = str(problem.get("detail") or problem.get("title") or "")
    elif not content_type.startswith("text/plain"):
        text = ""
    line = text.strip().partition("\n")[0][:SENTENCE_CHARACTERS]
    line = "".join(character if character.isprintable() else " " for character in line).strip()
    return FIELD.sub(lambda match: OPTIONS[match[0]], line)


def _words(cause: Exception) -> str:
    if isinstance(cause, aiohttp.ClientSSLError):
        return _tls_words(cause)
    for kind, words in CAUSES.items():
        if isinstance(cause, kind):
            return words
    if isinstance(cause, aiohttp.ClientConnectorError):
        number = cause.os_error.errno
        return f"cannot connect: {os.strerror(number) if number else cause.os_error}"
    return "the connection was lost" if isinstance(cause, OSError) else str(cause)


def _tls_words(cause: aiohttp.ClientSSLError) -> str:
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        reason = getattr(cause.certificate_error, "verify_message", "") or "it does not fit"
        return f"the certificate of the server is not trusted: {reason}"
    reason = getattr(cause.os_error, "reason", "") or "the handshake failed"
    return f"no TLS with this server ({reason}): perhaps its URL begins with http://"
