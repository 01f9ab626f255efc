"""A receiver of webhooks for threads: it verifies them, and makes jobs of them.

Made by `python -m scripts.sync_twins` from `headgate.workers.webhook_receiver`: change it there.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import headgate.runs.runs
import headgate.workers.webhook_receiver
from headgate.sync.twins import EachProcessTwin
from headgate.sync.workers import Job
from headgate.workers.webhook_receiver import LEASE_TTL_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.endpoint import Authorization


class WebhookReceiver(EachProcessTwin["headgate.workers.webhook_receiver.WebhookReceiver"]):
    """A receiver of the webhooks of one server, for frameworks with threads, as Flask and Django.

    ```python
    with headgate.sync.WebhookReceiver("http://127.0.0.1:4437/v1/stream", "orders") as receiver:
        job = receiver.job(body, headers)  # in the handler of the webhook
    ```

    A wake is accepted if a key of the server has signed it, a short time ago, and if it is for one
    of the subscriptions. The keys come from the server at `url`, never from a place that a request
    names, and are cached for five minutes. This needs the package `cryptography`, which the extra
    `webhooks` brings.

    Make one for all threads, where the program begins: it needs no block then. A process that is
    forked has keys and connections of its own. Jobs that are not over when the interpreter exits
    are released.

    Args:
        url: The URL below which the streams are, as `https://HOST/v1/stream`.
        subscription_ids: The ids of one or more webhook subscriptions.
        lease_ttl: Seconds of the subscriptions' `lease_ttl_ms`; 30 by default, as theirs.
        authorization: The value of the `Authorization` field, or a function that returns it, for
            the streams.

    Raises:
        ValueError: There is no subscription, or a number is out of its range.
    """

    def __init__(
        self,
        url: str,
        *subscription_ids: str,
        lease_ttl: float = LEASE_TTL_S,
        authorization: Authorization | None = None,
    ) -> None:
        super().__init__(
            partial(
                headgate.workers.webhook_receiver.WebhookReceiver,
                url,
                *subscription_ids,
                lease_ttl=lease_ttl,
                authorization=authorization,
            )
        )

    def verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Return if a request is signed by the server, and not too old.

        Args:
            body: The body of the request, byte for byte as it came.
            headers: The header fields of the request.

        Raises:
            NotAuthorized: It is not; answer 401 or so.
            StreamError: The keys cannot be fetched; answer 503, so that the server tries again.
            RuntimeError: The block of the receiver was not entered.
        """
        self._call(lambda twin: twin.verify(body, headers))

    def job(self, body: bytes, headers: Mapping[str, str]) -> Job | None:
        """Verify a request, and return its wake as a job, whose block you run in a thread.

        Answer 200 as soon as you have started the thread. Its lease is extended from now on, and
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
        twin = self._call(lambda twin: twin.job(body, headers))
        return None if twin is None else Job(twin)
