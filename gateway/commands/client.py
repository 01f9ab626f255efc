"""Streams as the commands ask for them, and what goes wrong in the words of the commands."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import aiohttp
from headgate.errors import RequestRefused
from headgate.stream import Stream

from gateway import trust
from gateway.protocol.header_names import FORKED_FROM, NEXT_OFFSET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.commands.target import Target

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
        yield Stream(target.url, authorization=target.authorization, session=session)


def in_words(failure: Exception, target: Target) -> str:
    """What went wrong; of a refusal with options in the place of fields, and what to do."""
    cause: BaseException | None = failure
    while cause is not None and not isinstance(cause, RequestRefused):
        cause = cause.__cause__
    if cause is None:
        return str(failure)
    sentence = FIELD.sub(lambda match: OPTIONS[match[0]], str(failure))
    return f"{sentence}; {target.advice}" if cause.status == 401 else sentence
