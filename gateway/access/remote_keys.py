"""The keys of an issuer at a URL: fetched in the background, and again for an unknown key."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from headgate.backoff import Backoff
from typing_extensions import override
from yarl import URL

from gateway import trust
from gateway.access.key_sets import KeySet, NoKeys, parse_keys
from gateway.background import Background
from gateway.origin.requests import why_no_response
from gateway.telemetry.logs import log
from gateway.telemetry.metrics import counter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

REFRESH_S = 300.0  # a key that its issuer has withdrawn is accepted no longer than that
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
# Keys are rotated a few times a day at most; tokens with made-up ids may come by the thousand.
UNKNOWN_EVERY_S = 10.0
FETCH_S = 5.0  # also the longest wait of a request whose key is unknown
LARGEST_SET = 256 << 10
FETCHES = counter(
    "headgate_jwks_fetches_total",
    "Fetches of the keys of JWT issuers, by result: fetched or failed.",
    "result",
)
RESULTS = ("fetched", "failed")


class RemoteKeys(Background):
    """The latest key set from a URL. After a failed fetch, the keys before it stay in use.

    A set without keys withdraws them all. `keys` is None before the first successful fetch.
    `on_change` is called after each change of the keys. `trouble` says why the last fetch failed,
    in words that follow "it". `fetches` counts by RESULTS.
    """

    def __init__(
        self, url: str, algorithms: Collection[str], on_change: Callable[[], None]
    ) -> None:
        self._url = url
        self.public_url = url.partition("?")[0]  # without the query, which may have a secret
        self._algorithms = algorithms
        self._on_change = on_change
        self._session: ClientSession | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._requested_at = -UNKNOWN_EVERY_S
        self._content: bytes | None = None
        self.keys: KeySet | None = None
        self.trouble: str | None = None
        self.fetches = dict.fromkeys(RESULTS, 0)

    def adopt(self, earlier: RemoteKeys) -> None:
        """Use the keys that were fetched from the same URL before, until others are."""
        self.keys, self._content = earlier.keys, earlier._content

    async def look_again(self) -> None:
        """Fetch the keys again for an unknown one, unless the last fetch was just now.

        Calls during a fetch wait for that one.
        """
        now = asyncio.get_running_loop().time()
        if self._fetching is None and now - self._requested_at < UNKNOWN_EVERY_S:
            return
        await self._fetch()

    @override
    async def stop(self) -> None:
        """Stop fetching, and close the connection."""
        await super().stop()
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @override
    async def _run(self) -> None:
        backoff = Backoff(FIRST_RETRY_S, LONGEST_RETRY_S, random.random)
        while True:
            await self._fetch()
            if self.trouble is None:
                backoff.reset()
                # Spread, so that the workers do not fetch all at once.
                await asyncio.sleep(REFRESH_S * (0.9 + 0.1 * random.random()))  # noqa: S311
            else:
                await asyncio.sleep(backoff.next_s())

    async def _fetch(self) -> None:
        """Fetch once for all callers; a cancelled caller does not end the fetch for the others."""
        if self._fetching is None:
            loop = asyncio.get_running_loop()
            self._requested_at = loop.time()
            self._fetching = loop.create_task(self._attempt())
        await asyncio.shield(self._fetching)

    async def _attempt(self) -> None:
        try:
            async with asyncio.timeout(FETCH_S):
                content = await self._content_at_url()
            if content != self._content:
                self._take(content)
            self.trouble = None
            self.fetches["fetched"] += 1
        except (ClientError, OSError, TimeoutError, ValueError) as cause:
            self.fetches["failed"] += 1
            self._refuse(_why(cause))
        finally:
            self._fetching = None

    def _take(self, content: bytes) -> None:
        try:
            self.keys = parse_keys(content, self._algorithms)
        except NoKeys:
            if self.keys:
                self.keys, self._content = KeySet({}), None
                self._on_change()
            raise
        self._content = content
        log.info("access.keys_fetched", url=self.public_url, keys=len(self.keys))
        self._on_change()

    def _refuse(self, why: str) -> None:
        if why != self.trouble:
            self.trouble = why
            log.warning("access.keys_not_fetched", url=self.public_url, why=why)

    async def _content_at_url(self) -> bytes:
        if self._session is None:
            # The system's authorities take a while to load, so only for https.
            tls = trust.context() if self._url.startswith("https:") else True
            self._session = ClientSession(
                connector=TCPConnector(limit=1, ssl=tls),
                cookie_jar=DummyCookieJar(),
                timeout=ClientTimeout(total=FETCH_S),
                # A compressed body could be a bomb.
                headers={"Accept-Encoding": "identity", "User-Agent": "headgate"},
                auto_decompress=False,
            )
        content = bytearray()
        url = URL(self._url, encoded=True)
        async with self._session.get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"answers {response.status}")
            async for part in response.content.iter_any():
                content += part
                if len(content) > LARGEST_SET:
                    raise ValueError(f"sends more than {LARGEST_SET >> 10} KiB")
        return bytes(content)


def _why(cause: Exception) -> str:
    """Return why a fetch failed, in words that follow "it"."""
    is_ours = isinstance(cause, ValueError) and not isinstance(cause, ClientError)
    return str(cause) if is_ours else why_no_response(cause, FETCH_S)
