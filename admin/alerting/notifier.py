"""The notifier that sends the alerts of this gateway to a webhook, and retries until it succeeds.

Each message has the whole state: the alerts that fire, and those that have ended since the last
delivery. So there is no queue: what changes while the receiver is away replaces the next message.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import socket
from typing import TYPE_CHECKING

from headgate.backoff import Backoff
from yarl import URL

from admin.alerting.notices import MOST_ALERTS, Notice, NoticeMessage, body
from gateway.protocol.standard_webhooks import signed_fields
from gateway.settings.reached import console_url
from gateway.settings.sections.alerts import webhook_key
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from admin.alerting.series import Labels
    from admin.alerting.states import ActiveAlert, AlertChanges, AlertStates
    from gateway.outbound.client import OutboundClient
    from gateway.settings import Settings

CALL_S = 10.0  # seconds for one request, from the connection to the head of the response
FIRST_S, LONGEST_S = 1.0, 120.0  # seconds between two attempts
REPEAT_S = 4 * 3600.0  # firing alerts are sent again, as Alertmanager does by default
MOST_WAITING = 256  # alerts that have ended and are not delivered; the oldest are dropped
GONE = 410  # with which a receiver of Standard Webhooks unsubscribes


class AlertNotifier:
    """The messages of one gateway to the webhook of its settings, and the task that sends them."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        """`clock` returns epoch seconds."""
        self._clock = clock
        self._firing: tuple[ActiveAlert, ...] = ()
        self._over: dict[tuple[str, Labels], Notice] = {}
        self._message: NoticeMessage | None = None  # the one to deliver next, if it is made already
        self._has_news = asyncio.Event()
        self._backoff = Backoff(FIRST_S, LONGEST_S, random.random)
        self._reason = ""  # of the last failure
        self._is_gone = False
        self._has_settings = asyncio.Event()  # set by new ones, which end a pause
        self._url, self._key = "", b""
        self.use_settings(settings)

    def use_settings(self, settings: Settings) -> None:
        """Send to the webhook of these settings from now on."""
        before = self._url, self._key
        self._url = settings.alerts.webhook.reveal()
        self._gateway = f"{socket.gethostname()}/{settings.listen}"
        self._console = console_url(settings)
        if not self._url:
            self._over.clear()
            self._message = None
            return
        try:
            self._key = webhook_key(settings.alerts.webhook_secret_file)
        except ValueError as error:  # changed since the settings were checked
            log.error("alerts.webhook_failed", reason=f"alerts.webhook_secret_file {error}")
            self._url, self._message = "", None  # until the next reload: nothing is sent unsigned
            return
        if before != (self._url, self._key) or self._is_gone:
            self._is_gone = False
            self._backoff.reset()
            self._note_news()
            self._has_settings.set()

    def note(self, now: float, changes: AlertChanges, states: AlertStates) -> None:
        """Note which alerts fire, and which have begun or ended; send a message at a change."""
        self._firing = tuple(it for it in states.active.values() if it.firing_at is not None)
        if not self._url or self._is_gone:
            return
        for alert in changes.fired:
            self._over.pop(alert.key, None)
        for alert in changes.resolved:
            self._over[alert.key] = Notice(alert, now)
        if (surplus := len(self._over) - MOST_WAITING) > 0:
            log.warning("alerts.ends_dropped", alerts=surplus)
            for key in [*self._over][:surplus]:
                del self._over[key]
        if changes.fired or changes.resolved:
            self._note_news()

    def _note_news(self) -> None:
        self._message = None
        self._has_news.set()

    async def run(self) -> None:
        """Send messages until cancelled."""
        client: OutboundClient | None = None
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(REPEAT_S):
                        await self._has_news.wait()
                self._has_news.clear()
                notices = self._notices()
                if self._url and not self._is_gone and notices:
                    client = client or _client()
                    await self._send(client, notices)
        finally:
            if client is not None:
                await client.close()

    def _notices(self) -> list[Notice]:
        """Return all alerts to send; those that have ended come first, as they are sent once."""
        return [*self._over.values(), *map(Notice, self._firing)]

    async def _send(self, client: OutboundClient, notices: list[Notice]) -> None:
        """Send these alerts; after a failure, pause and request another attempt."""
        message = self._message
        if message is None:
            text = body(self._gateway, self._console, notices)
            message = self._message = NoticeMessage(f"msg_{secrets.token_hex(16)}", text)
        reason = await self._attempt(client, message)
        if not reason:
            self._finish(message, notices)
            return
        if reason != self._reason:
            log.warning("alerts.webhook_failed", reason=reason)
        self._reason = reason
        if self._is_gone:
            self._over.clear()
            self._message = None
            return
        self._has_settings.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._backoff.next_s()):
                await self._has_settings.wait()
        self._has_news.set()

    def _finish(self, message: NoticeMessage, notices: list[Notice]) -> None:
        """Drop the ended alerts of a delivered message; request another one for the rest."""
        self._backoff.reset()
        if self._reason:
            log.info("alerts.webhook_recovered")
        self._reason = ""
        for notice in notices[:MOST_ALERTS]:
            if self._over.get(notice.alert.key) is notice:
                del self._over[notice.alert.key]
        if self._message is message:
            self._message = None
        if self._over:
            self._has_news.set()

    async def _attempt(self, client: OutboundClient, message: NoticeMessage) -> str:
        """Send a message once; return why it failed, or ""."""
        from gateway.outbound.client import OutboundRequest
        from gateway.outbound.failures import NoResponse

        url = self._url
        signed = signed_fields([self._key], message.id, message.body, self._clock())
        fields = {"Content-Type": "application/json", **signed}
        request = OutboundRequest("POST", URL(url), fields, message.body)
        try:
            status = (await client.call(request, CALL_S, body_of=())).status
        except NoResponse as failure:
            return f"it {failure.why}"
        except Exception as error:  # noqa: BLE001 - else this task ends unnoticed
            # The text of the error is left out: it may have the URL in it.
            return f"it was not asked, by a fault of Headgate ({type(error).__name__})"
        if 200 <= status < 300:
            return ""
        self._is_gone = status == GONE and url == self._url  # else a reload has replaced it
        unsubscribed = "; nothing is sent until the settings are read again"
        return f"it answers {status}{unsubscribed if self._is_gone else ''}"


def _client() -> OutboundClient:
    from gateway.outbound.client import OutboundClient  # most consoles send no alerts

    return OutboundClient("alert")
