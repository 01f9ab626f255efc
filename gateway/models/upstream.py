"""The client of a model route's provider: its servers, its key and its connections."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, hdrs

from gateway.errors import OriginBroken, OriginTimeout, OriginUnreachable
from gateway.protocol.http.forwarding import CONSOLE_COOKIE, end_to_end
from gateway.protocol.http.identity import drop_cookie

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence

    from aiohttp import ClientResponse
    from multidict import CIMultiDict, MultiMapping

TOKEN_FIELD = "Headgate-Token"
STREAM_FIELD = "Headgate-Stream"
# Fields with a client's key. On a route with the provider's key, it is a token of Headgate.
KEY_FIELDS = frozenset({"authorization", "x-api-key"})
# Fields for the gateway, and fields that tell where the client is.
_NOT_FOR_PROVIDERS = frozenset(
    {
        *(TOKEN_FIELD.lower(), STREAM_FIELD.lower()),
        *("host", "last-event-id", "origin", "referer"),
        *("via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
        "x-real-ip",
    }
)
_NOT_ADDED = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)
_CONNECT_S = 10.0
_KEEP_ALIVE_S = 30.0  # providers close idle connections after a minute or more


class ProviderClient:
    """The provider's servers: the first that can be reached gets each request."""

    def __init__(
        self,
        urls: Sequence[str],
        key_fields: Mapping[str, str],
        *,
        head_timeout_s: float,
        read_timeout_s: float,
    ) -> None:
        """Send `key_fields` in place of the client's key; without any, the client's is sent."""
        self._urls = urls
        self._key_fields = key_fields
        self._head_timeout_s = head_timeout_s
        self._timeout = ClientTimeout(
            total=None, sock_connect=_CONNECT_S, sock_read=max(head_timeout_s, read_timeout_s)
        )
        self._session: ClientSession | None = None

    def open(self) -> None:
        """Prepare connections on the running loop."""
        self._session = ClientSession(
            connector=TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),  # answers are bounded
            cookie_jar=DummyCookieJar(),
            trust_env=False,
            skip_auto_headers=_NOT_ADDED,
            timeout=self._timeout,
            auto_decompress=False,
            read_bufsize=1 << 16,
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def fields(self, headers: MultiMapping[str], *, is_stored: bool = False) -> CIMultiDict[str]:
        """Return the header fields of a request for the provider.

        An answer that `is_stored` must come without compression.
        """
        drop = _NOT_FOR_PROVIDERS | (KEY_FIELDS if self._key_fields else frozenset())
        fields = end_to_end(headers, drop)
        drop_cookie(fields, CONSOLE_COOKIE)
        fields.extend(self._key_fields)
        if is_stored:
            fields["Accept-Encoding"] = "identity"
        return fields

    async def request(
        self,
        method: str,
        target: str,
        fields: MultiMapping[str],
        body: bytes | AsyncIterable[bytes] | None,
    ) -> ClientResponse:
        """Send a request, and return the response once its head has come.

        Another server is tried only where nothing was sent to the first. Raises OriginUnreachable,
        OriginTimeout, OriginBroken.
        """
        for url in self._urls[:-1]:
            try:
                return await self._request(url, method, target, fields, body)
            except OriginUnreachable:
                continue
        return await self._request(self._urls[-1], method, target, fields, body)

    async def _request(
        self,
        url: str,
        method: str,
        target: str,
        fields: MultiMapping[str],
        body: bytes | AsyncIterable[bytes] | None,
    ) -> ClientResponse:
        assert self._session is not None, "it is opened at the start"
        try:
            async with asyncio.timeout(self._head_timeout_s):
                return await self._session.request(
                    method, f"{url}{target}", headers=fields, data=body, allow_redirects=False
                )
        except TimeoutError as error:
            sentence = f"{url} did not answer within {self._head_timeout_s:g} s"
            raise OriginTimeout(sentence) from error
        except (aiohttp.ClientConnectorError, ssl.SSLError) as error:
            raise OriginUnreachable(f"{url} cannot be reached") from error
        except aiohttp.ClientError as error:
            raise OriginBroken(f"{url} broke off before it answered") from error


class ProvidedBody:
    """The body of a provider's response, which is passed on while it comes."""

    def __init__(self, response: ClientResponse) -> None:
        self._response = response

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the parts. Raises OriginTimeout or OriginBroken when they end too early."""
        async for part in body_parts(self._response):
            yield part

    def release(self) -> None:
        """Give up the rest of the body."""
        self._response.close()


async def body_parts(response: ClientResponse) -> AsyncIterator[bytes]:
    """Yield the parts of a body as they come, and then close the response.

    Raises OriginTimeout or OriginBroken when they end too early.
    """
    try:
        async for part in response.content.iter_any():
            yield part
    except TimeoutError as error:
        raise OriginTimeout("the provider stopped in the middle of its answer") from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise OriginBroken("the connection to the provider broke off") from error
    finally:
        response.close()
