"""The server under examination: its URL, the credentials for it, and requests to it."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

import aiohttp

from headgate.endpoint import checked_url
from headgate.names import (
    AUTHORIZATION_VARIABLE,
    BASE_VARIABLE,
    DEFAULT_BASE,
    authorization_of,
    shown,
)
from headgate.stream_requests import StreamRequests
from headgate_doctor.finding import ProbeFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

LIKE_THIS = f'{AUTHORIZATION_VARIABLE}="Bearer TOKEN"'
# What the requests of an examination ask for.
READ_KEYS = re.compile(r"(?:^|&)(offset|live|cursor)=")


@dataclass(frozen=True, slots=True)
class ExaminedTarget:
    """The URL of a stream, which may hold secrets, and the value of `Authorization` for it.

    It `is_elsewhere` if there is a value, but for the server of STREAM_URL, which is another one.
    With a `ca_file` only the authorities in it are trusted.
    """

    url: str = field(repr=False)
    authorization: str | None = field(default=None, repr=False)
    is_elsewhere: bool = False
    ca_file: str = ""

    @property
    def shown(self) -> str:
        """The URL as it may be printed: without password and query."""
        return shown(self.url)

    @property
    def has_credentials(self) -> bool:
        """True if requests have an Authorization, also if it comes from the URL."""
        return self.authorization is not None or "@" in urlsplit(self.url).netloc

    @property
    def advice(self) -> str:
        """The advice for a 401: what to do about the authorization."""
        if self.is_elsewhere:
            return f"{AUTHORIZATION_VARIABLE} is sent to the server of {BASE_VARIABLE} only"
        if self.authorization is None:
            return f"set {LIKE_THIS} in the environment"
        if " " not in self.authorization.strip():
            return f"{AUTHORIZATION_VARIABLE} must be a scheme and a token, as in {LIKE_THIS}"
        return f"put another into {AUTHORIZATION_VARIABLE}"

    @classmethod
    def at(cls, url: str, environment: Mapping[str, str], ca_file: str = "") -> ExaminedTarget:
        """Return the target at a URL, with STREAM_AUTH if it is for that server.

        Raises ValueError for a URL or a value that cannot be sent.
        """
        url = _sendable(url, "it")
        if match := READ_KEYS.search(urlsplit(url).query):
            raise ValueError(f"the URL has {match[1]}= in its query, which the doctor sets itself")
        authorization = authorization_of(environment)
        base = environment.get(BASE_VARIABLE)
        # The authorization belongs to the server of STREAM_URL; another one must not learn it.
        if not base or _server_of(_sendable(base, BASE_VARIABLE)) == _server_of(url):
            return cls(url, authorization, ca_file=ca_file)
        return cls(url, is_elsewhere=authorization is not None, ca_file=ca_file)


def _sendable(url: str, subject: str) -> str:
    """Return the URL, percent-encoded where its path or query cannot be sent as it is."""
    wrong = f"{subject} must be a URL such as {DEFAULT_BASE}"
    # An error may repeat what it takes for a port, which may be a part of a password.
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if "\\" in parts.netloc:  # RFC 3986 has none there, and browsers take it for a slash
            wrong += ": there is no backslash before its path"
        path, query = (
            quote(os.fsencode(text), safe=string.punctuation) for text in (parts.path, parts.query)
        )
        sendable = urlunsplit((parts.scheme, parts.netloc, path, query, ""))
        host = checked_url(sendable).host or ""
        if host.encode("idna") and parts.port != 0 and "\\" not in parts.netloc:
            return sendable
    raise ValueError(wrong)


def _server_of(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


@contextlib.asynccontextmanager
async def connect(target: ExaminedTarget) -> AsyncIterator[StreamRequests]:
    """Yield the stream, with an HTTP session that ends with the block.

    Requests are sent as they are: with a cookie that a response has set, such as a load
    balancer's, they would bypass most caches, and requests that aiohttp repeats would not be
    counted. Raises ProbeFailed for a bad `ca_file`.
    """
    try:
        trusted = ssl.create_default_context(cafile=target.ca_file or None)
    except OSError as cause:
        why = "no certificate in it" if isinstance(cause, ssl.SSLError) else cause.strerror
        raise ProbeFailed(f"cannot use {target.ca_file} (--cacert): {why}") from cause
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trusted),
        headers={"User-Agent": "headgate-doctor"},
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        # aiohttp repeats an idempotent request once whose connection is lost before its response,
        # and has no public way not to: the cut of a hop would stay unseen.
        session._retry_connection = False
        yield StreamRequests(target.url, authorization=target.authorization, session=session)
