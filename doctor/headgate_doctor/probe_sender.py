"""Requests within the budget, and answers that are bounded in time and size."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from multidict import CIMultiDict

from headgate.errors import StreamError, Unavailable
from headgate_doctor.finding import ProbeFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import aiohttp

    from headgate.stream_requests import StreamRequests

# Enough for every check with twenty readers and credentials; few enough for a server that people
# are using.
MOST_REQUESTS = 400


class BudgetSpent(ProbeFailed):
    """The budget of requests is used up."""


@dataclass(slots=True)
class RequestBudget:
    """A budget of requests, each of which is counted before it is sent."""

    most: int = MOST_REQUESTS
    spent: int = 0
    # Requests that are promised: the removal of each stream that was made.
    promised: int = 0

    def spend(self, *, promise: bool = False) -> None:
        """Count a request; with `promise`, put another one aside. Raises BudgetSpent."""
        if self.spent + self.promised + 1 + promise > self.most:
            raise BudgetSpent(f"all {self.most} requests of this examination are spent")
        self.spent += 1
        self.promised += promise

    def promise(self) -> None:
        """Put a request aside. Raises BudgetSpent."""
        if self.spent + self.promised + 1 > self.most:
            raise BudgetSpent(f"all {self.most} requests of this examination are spent")
        self.promised += 1

    def redeem(self) -> None:
        """Count a request that was put aside. Raises BudgetSpent if there is none."""
        if not self.promised:
            raise BudgetSpent("no request was put aside for this")
        self.promised -= 1
        self.spent += 1


REQUEST_ID = "X-Request-Id"
ID_MARK = "doctor-"
# For an answer that need not wait for anything; with a cold cache and a far server.
ANSWER_S = 10.0
# What is asked for is a few KiB long; more of it is somebody else's.
BODY_BYTES = 1 << 18
# A hop that makes up a name for each response makes as many as there are requests.
MOST_COOKIES = 5


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """A whole answer, when it came by the clock of the loop, and the id that its request had."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    request_id: str
    at_s: float
    # The server's words for a refusal, else nothing.
    error_text: str = ""

    @property
    def is_good(self) -> bool:
        """True if the status is 2xx."""
        return 200 <= self.status < 300


class TooManyRequests(ProbeFailed):
    """A hop or the server takes no more from this address for now: nothing else can be seen."""


@dataclass(frozen=True, slots=True)
class ProbeBounds:
    """Bounds an answer: the seconds it may take, ANSWER_S unless given, and its longest body."""

    within_s: float | None = None
    most_bytes: int = BODY_BYTES


USUAL = ProbeBounds()


class ProbeSender:
    """A sender of requests, as long as the budget lasts."""

    def __init__(self, budget: RequestBudget, *, has_credentials: bool = False) -> None:
        self.budget = budget
        # Most caches are passed by then.
        self.has_credentials = has_credentials
        # Answers with 429; as many as the budget at most.
        self.limited: list[ProbeReply] = []
        # Names of cookies that responses have set, MOST_COOKIES at most.
        self.cookies: set[str] = set()
        # Those that need not wait for anything, and had no answer.
        self.unanswered = 0

    async def send(
        self,
        stream: StreamRequests,
        method: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        bounds: ProbeBounds = USUAL,
    ) -> ProbeReply:
        """Return the reply to a request, whatever its status. Raises StreamError if it is late.

        Raises TooManyRequests for a 429.
        """
        self.budget.spend()
        try:
            reply = await exchange(
                stream, method, query=query, headers=headers, body=body, bounds=bounds
            )
        except StreamError as refusal:
            is_usual = bounds.within_s is None
            self.unanswered += is_usual and isinstance(refusal.__cause__, TimeoutError)
            raise
        if "Set-Cookie" in reply.headers and len(self.cookies) < MOST_COOKIES:
            self.cookies.add(_cookie_name(reply.headers["Set-Cookie"]))
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
            self.limited.append(reply)
            raise TooManyRequests("a request was refused: 429, too many of them")
        return reply

    @contextlib.asynccontextmanager
    async def opened(
        self, stream: StreamRequests, *, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a GET; the caller reads the body, and bounds it."""
        self.budget.spend()
        async with stream.request("GET", query=query, headers=headers) as answer:
            yield answer


async def exchange(
    stream: StreamRequests,
    method: str,
    *,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    bounds: ProbeBounds = USUAL,
) -> ProbeReply:
    """Send a request that is counted already, as `ProbeSender.send` does."""
    within_s = ANSWER_S if bounds.within_s is None else bounds.within_s
    request_id = f"{ID_MARK}{secrets.token_hex(8)}"
    loop = asyncio.get_running_loop()
    sent = {**(headers or {}), REQUEST_ID: request_id}
    try:
        async with (
            asyncio.timeout(within_s),
            stream.request(method, query=query, headers=sent, body=body, idle_s=within_s) as answer,
        ):
            data = await _read_body(stream, answer, bounds.most_bytes)
            return ProbeReply(answer.status, _joined(answer.headers), data, request_id, loop.time())
    except TimeoutError as cause:
        raise Unavailable(f"no answer within {within_s:g} s", stream=stream.shown) from cause
    except StreamError as refusal:
        if refusal.status is None:
            raise
        headers, said = _joined(refusal.headers), words(refusal)
        return ProbeReply(refusal.status, headers, b"", request_id, loop.time(), said)


def _cookie_name(value: str) -> str:
    """Return the name of a cookie, harmless to a terminal; its value may be a secret."""
    return "".join(one for one in value.partition("=")[0][:40] if "!" <= one <= "~")


def words(failure: Exception) -> str:
    """Return what went wrong, without the URL of the stream, whose name is secret."""
    return re.sub(r"^https?://\S+: ", "", str(failure))


async def _read_body(
    stream: StreamRequests, answer: aiohttp.ClientResponse, most_bytes: int
) -> bytes:
    """Read the whole body. Raises ProbeFailed beyond `most_bytes`."""
    parts = bytearray()
    async for part in answer.content.iter_any():
        parts += part
        if len(parts) > most_bytes:
            # Closed, so that the connection does not go on receiving what is not needed.
            answer.close()
            raise ProbeFailed(f"{stream.shown}: the answer is longer than {most_bytes >> 10} KiB")
    return bytes(parts)


def _joined(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Join fields that came several times into one list, to which each hop has added at the end."""
    joined: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
