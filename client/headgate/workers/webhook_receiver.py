"""A receiver of webhooks: it verifies them, and makes jobs of them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from headgate.endpoint import Endpoint, unlimited_session
from headgate.errors import NotAuthorized, ProtocolError, check_number
from headgate.names import path_url
from headgate.stream_requests import StreamRequests
from headgate.workers.claims import WebhookWake, decoded
from headgate.workers.job import Job, give_back
from headgate.workers.signatures import (
    check_installed,
    check_signature,
    check_time,
    signature_in,
    system_time,
)
from headgate.workers.wake_lease import WakeLease
from headgate.workers.webhook_keys import WebhookKeys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    import aiohttp

    from headgate.endpoint import Authorization

LEASE_TTL_S = 30.0  # PROTOCOL.md section 6: what a subscription has by default


class WebhookReceiver:
    """A receiver of the webhooks of one server, for any web framework of asyncio.

    ```python
    async with headgate.WebhookReceiver("http://127.0.0.1:4437/v1/stream", "orders") as receiver:
        job = await receiver.job(body, headers)  # in the handler of the webhook
    ```

    A wake is accepted if a key of the server has signed it, a short time ago, and if it is for one
    of the subscriptions. The keys come from the server at `url`, never from a place that a request
    names, and are cached for five minutes. This needs the package `cryptography`, which the
    extra `webhooks` brings.

    Args:
        url: The URL below which the streams are, as `https://HOST/v1/stream`.
        subscription_ids: The ids of one or more webhook subscriptions.
        lease_ttl: Seconds of the subscriptions' `lease_ttl_ms`; 30 by default, as theirs.
        authorization: The value of the `Authorization` field, or a function that returns it, for
            the streams.
        session: The aiohttp session of the requests; without one, the receiver makes its own.

    Raises:
        ValueError: There is no subscription, or a number is out of its range.
    """

    def __init__(
        self,
        url: str,
        *subscription_ids: str,
        lease_ttl: float = LEASE_TTL_S,
        authorization: Authorization | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        if not subscription_ids:
            raise ValueError("a receiver has the id of a subscription: WebhookReceiver(url, id)")
        check_number("lease_ttl", lease_ttl, 1)
        check_installed()  # now, and not at the first request
        self._session = session
        self._subscription_ids = frozenset(subscription_ids)
        self._lease_s = lease_ttl
        self._base = StreamRequests(url, authorization=authorization)
        self._keys: WebhookKeys | None = None
        self._jobs: dict[str, Job] = {}
        self._block = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as block:
            session = self._session or await block.enter_async_context(unlimited_session())
            self._base = StreamRequests(
                self._base.url, authorization=self._base.authorization, session=session
            )
            # The keys are public: no credential is sent for them.
            keys_url = path_url(self._base.url, "__ds/jwks.json")
            self._keys = WebhookKeys(Endpoint(keys_url, session=session))
            block.push_async_callback(give_back, self._jobs.values())
            self._block = block.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._keys = None
        await self._block.aclose()

    async def verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Return if a request is signed by the server, and not too old.

        Args:
            body: The body of the request, byte for byte as it came.
            headers: The header fields of the request.

        Raises:
            NotAuthorized: It is not; answer 401 or so.
            StreamError: The keys cannot be fetched; answer 503, so that the server tries again.
            RuntimeError: The block of the receiver was not entered.
        """
        if self._keys is None:
            raise RuntimeError("a receiver is used as: async with WebhookReceiver(url, id) as it")
        signature = signature_in(headers)
        check_time(signature, system_time())
        check_signature(signature, body, await self._keys.key(signature.key_id))

    async def job(self, body: bytes, headers: Mapping[str, str]) -> Job | None:
        """Verify a request, and return its wake as a job, whose block you run in a task.

        Answer 200 as soon as you have started the task. Its lease is extended from now on, and
        what it reads is acknowledged at its end, by the callback of the wake.

        Args:
            body: The body of the request, byte for byte as it came.
            headers: The header fields of the request.

        Returns:
            The job. None if this receiver is at work on the same wake, which the server has sent
            again: answer 200 then, too.

        Raises:
            NotAuthorized: It is not signed by the server, too old, or for another subscription.
            StreamError: The keys cannot be fetched; answer 503, so that the server tries again.
            RuntimeError: The block of the receiver was not entered.
        """
        await self.verify(body, headers)
        try:
            wake = decoded(body, WebhookWake, self._base.shown)
        except ProtocolError as error:
            raise NotAuthorized(str(error)) from error
        if wake.subscription_id not in self._subscription_ids:
            raise NotAuthorized(f"the wake is for another subscription, {wake.subscription_id!r}")
        if wake.wake_id in self._jobs:
            return None
        claim = wake.claim(self._lease_s)
        now = asyncio.get_running_loop().time()
        lease = WakeLease(wake.callback_url, self._base.session, claim, now, is_webhook=True)
        job = Job(wake.subscription_id, claim, self._base, lease, self._on_end)
        self._jobs[wake.wake_id] = job
        return job

    def _on_end(self, job: Job) -> None:
        self._jobs.pop(job.wake_id, None)
