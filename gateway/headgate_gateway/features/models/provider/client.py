"""The client of a route's provider: its servers, its key, and which refused requests it repeats."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import ClientResponse
from yarl import URL

from headgate_gateway.errors import (
    DestinationRefused,
    LimitReached,
    OriginBroken,
    OriginTimeout,
    OriginUnreachable,
)
from headgate_gateway.features.models.provider.bodies import Upload
from headgate_gateway.open_files import NoFileLeft
from headgate_gateway.outbound.client import OutboundClient, OutboundRequest
from headgate_gateway.outbound.connections import Connector
from headgate_gateway.outbound.failures import NoResponse, ProxyRefusal
from headgate_gateway.outgoing_proxies import check_proxies, environment_proxies
from headgate_gateway.protocol.http.forwarding import (
    OF_PROXIES_IN_FRONT,
    check_text,
    outgoing_fields,
)
from headgate_gateway.protocol.http.header_names import PROVIDER_KEYS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from aiohttp import StreamReader
    from multidict import CIMultiDict, MultiMapping

    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.telemetry.outbound import FailureKind

# Fields with a client's key. On a route with the provider's key, it is a token of Headgate.
KEY_FIELDS = frozenset({"authorization", *map(str.lower, PROVIDER_KEYS)})
# A position in a stream here, and fields that tell where the client is.
_NOT_FOR_PROVIDERS = OF_PROXIES_IN_FRONT | {"last-event-id", "origin", "referer"}
_ERRORS: dict[FailureKind, type[HeadgateError]] = {
    "timeout": OriginTimeout,
    **dict.fromkeys(("certificate", "name", "proxy", "tls", "unreachable"), OriginUnreachable),
}


class ProviderResponse(ClientResponse):
    """A response that has the longest wait for its next part.

    aiohttp's own timeout for reads belongs to the connection, and may still run when the next
    request is sent on that: `resume_reading` starts it after the end of a long completion.
    """

    read_timeout_s: float | None = None


class ProviderClient:
    """The provider's servers: the first that can be reached gets each request."""

    def __init__(
        self,
        urls: Sequence[str],
        key_fields: Mapping[str, str],
        *,
        read_timeout_s: float,
        client: OutboundClient | None = None,
    ) -> None:
        """Send `key_fields` in place of the client's key; without any, the client's is sent.

        `client` checks addresses, where clients name the servers. Without it, requests go through
        the proxies of the environment. Raises StartError if one of these is malformed.
        """
        self.urls = urls
        self._key_fields = key_fields
        self._read_timeout_s = read_timeout_s
        # Any number of connections: the completions are bounded.
        self._client = client or OutboundClient(
            "model", Connector, ProviderResponse, environment_proxies()
        )
        check_proxies(urls)
        self.repeated_requests = 0  # to another server

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    def fields(self, headers: MultiMapping[str], *, is_stored: bool = False) -> CIMultiDict[str]:
        """Return the header fields of a request for the provider.

        A completion that `is_stored` must come without compression. Raises BadRequest.
        """
        drop = _NOT_FOR_PROVIDERS | (KEY_FIELDS if self._key_fields else frozenset())
        fields = outgoing_fields(headers, drop)
        check_text(fields)
        fields.extend(self._key_fields)
        if is_stored:
            fields["Accept-Encoding"] = "identity"
        return fields

    async def request(
        self,
        method: str,
        target: str,
        fields: MultiMapping[str],
        body: bytes | Upload | None,
    ) -> ProviderResponse:
        """Send a request, and return the response once its head has come.

        Another server is tried only where nothing was sent to the first. Raises OriginUnreachable,
        OriginTimeout, OriginBroken, or what has ended the body of an Upload.
        """
        for url in self.urls[:-1]:
            try:
                return await self.send(url, method, target, fields, body)
            except OriginUnreachable:
                self.repeated_requests += 1
        return await self.send(self.urls[-1], method, target, fields, body)

    async def call(self, target: str, fields: MultiMapping[str], body: bytes) -> ProviderResponse:
        """Request a completion, and return the response once its head has come.

        The next server is called where one cannot be reached or refuses the request; the last
        refusal is returned if all do. A request whose response broke off is never sent again: its
        completion may have been paid for. Raises OriginUnreachable if no server can be reached,
        OriginTimeout, OriginBroken.
        """
        refusal: ProviderResponse | None = None
        reasons = []
        for url in self.urls:
            self.repeated_requests += url is not self.urls[0]
            try:
                response = await self.send(url, "POST", target, fields, body)
            except OriginUnreachable as error:
                reasons.append(error.detail)
                continue
            except BaseException:
                if refusal is not None:
                    refusal.close()
                raise
            if refusal is not None:
                refusal.close()
            refusal = response
            if not may_be_repeated(response.status, response.headers):
                break
        if refusal is None:
            raise OriginUnreachable("; ".join(reasons))
        return refusal

    async def send(
        self,
        url: str,
        method: str,
        target: str,
        fields: MultiMapping[str],
        body: bytes | Upload | None,
    ) -> ProviderResponse:
        """Send a request to one server, and return the response once its head has come.

        Raises OriginUnreachable, OriginTimeout, OriginBroken, or DestinationRefused where its
        address may not be connected to.
        """
        whole, wait_s = f"{url}{target}", self._read_timeout_s
        at = URL(whole, encoded=True) if whole.isascii() else URL(whole)
        upload = body if isinstance(body, Upload) else None
        sent = body.parts(wait_s) if isinstance(body, Upload) else body
        request = OutboundRequest(method, at, fields, sent)
        try:
            if upload is None:
                response = await self._client.open(request, wait_s)
            else:
                response = await self._client.open(request, wait_s, timed_by=upload.timed_by)
        except NoResponse as failure:
            if upload is not None and upload.error is not None:
                raise upload.error from None
            raise _error_of(failure, url) from failure
        assert isinstance(response, ProviderResponse), "of this session"
        response.read_timeout_s = self._read_timeout_s
        if upload is not None:  # whose rest may still come
            upload.call_on_error(response.close)
        return response


class ProvidedBody:
    """The body of a provider's response, which is passed on while it comes."""

    def __init__(
        self, response: ProviderResponse, on_end: Callable[[], None] | None = None
    ) -> None:
        """Call `on_end` once, when all parts have come or nobody wants them any more."""
        self._response = response
        # Also for a client that leaves before the first part.
        self._notify_end = weakref.finalize(self, on_end or _nothing)
        self._notify_end.atexit = False

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the parts. Raises OriginTimeout or OriginBroken when they end too early."""
        try:
            async for part in body_parts(self._response):
                yield part
        finally:
            self._notify_end()

    def release(self) -> None:
        """Give up the rest of the body."""
        self._response.close()
        self._notify_end()


def _nothing() -> None:
    """Do nothing: nobody waits for the end."""


async def body_parts(response: ProviderResponse) -> AsyncIterator[bytes]:
    """Yield the parts of a body as they come, and then close the response.

    Raises OriginTimeout or OriginBroken when they end too early, behind all that has come.
    """
    broken: Exception | None = None
    watch = _ReadWatch(response)
    try:
        try:
            while part := await response.content.readany():
                watch.since = None
                yield part
                watch.since = watch.time()
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
            broken = error
        if broken is not None:
            if part := unread(response.content):
                yield part
            raise _failure(broken) from broken
    finally:
        watch.end()
        response.close()


class _ReadWatch:
    """The time-out of all waits for parts of a body.

    One timer serves them all: one for each part would take a twentieth of all time.
    """

    def __init__(self, response: ProviderResponse) -> None:
        loop = asyncio.get_running_loop()
        self.time = loop.time
        self.since: float | None = loop.time()  # when the wait began; None while there is none
        self._response = response
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    def _look(self) -> None:
        """End a wait that is too long, or look again when it may be."""
        longest_s, now = self._response.read_timeout_s, self.time()
        if longest_s is None:
            return
        due = (now if self.since is None else self.since) + longest_s
        if due <= now:
            self._response.content.set_exception(TimeoutError())
        else:
            self._timer = asyncio.get_running_loop().call_at(due, self._look)

    def end(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()


def unread(content: StreamReader) -> bytes:
    """Return what has come of a body that is broken, which its reader refuses to give."""
    content.set_exception(None)  # type: ignore[arg-type]
    return content.read_nowait()


def _error_of(failure: NoResponse, url: str) -> HeadgateError:
    """Return the error where a server gave no response."""
    if failure.kind == "refused":
        return DestinationRefused(failure.why)
    if isinstance(failure.__cause__, NoFileLeft):
        return LimitReached(str(failure.__cause__), ends_connection=True)
    if isinstance(failure.__cause__, ProxyRefusal):  # of a request whose body is sent already
        return OriginBroken(f"{url} {failure.why}")
    return _ERRORS.get(failure.kind, OriginBroken)(f"{url} {failure.why}")


def _failure(broken: Exception) -> HeadgateError:
    if isinstance(broken, TimeoutError):
        return OriginTimeout("the provider stopped in the middle of its answer")
    return OriginBroken("the connection to the provider broke off")


# 504 is missing: the server behind the one that gave up may still make the completion.
REPEATABLE = frozenset({429, 500, 502, 503, 529})


def may_be_repeated(status: int, headers: MultiMapping[str]) -> bool:
    """Return whether a response is a refusal after which the request may be sent again.

    The provider's `x-should-retry` decides where a refusal has it.
    """
    if status < 400:
        return False
    match headers.get("x-should-retry", "").strip().lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            return status in REPEATABLE
