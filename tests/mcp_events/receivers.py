"""Receivers of events, which verify signatures as applications do: by `standardwebhooks`."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook

from tests.support.waiting import until
from tests.support.web_servers import web_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"o" * 24).decode()


class HookReceiver:
    """A receiver that echoes challenges, and answers events with `statuses`, then with 200."""

    def __init__(self) -> None:
        self.secret = SECRET
        self.messages: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        self.challenges = 0
        self.echo: bytes | None = None  # in place of the challenge
        self.on_message: Callable[[], Awaitable[None]] | None = None  # before it is answered
        self.url = ""

    async def handle(self, call: web.Request) -> web.StreamResponse:
        """Verify a message, and answer it."""
        body = await call.read()
        headers = {name.lower(): value for name, value in call.headers.items()}
        assert headers["content-type"] == "application/json"
        # The clock of these gateways is not the present.
        stamp = int(headers["webhook-timestamp"])
        with at_time(stamp):
            message = Webhook(self.secret).verify(body.decode(), headers)
        assert message == json.loads(body)
        if message.get("type") == "verification":
            self.challenges += 1
            assert headers["webhook-id"].startswith("msg_verification_")
            echo = json.dumps({"challenge": message["challenge"]}).encode()
            return web.Response(body=echo if self.echo is None else self.echo)
        status = self.statuses.pop(0) if self.statuses else 200
        self.headers.append(headers)
        self.messages.append({**message, "status": status})
        if self.on_message is not None:
            await self.on_message()
        return web.Response(status=status)

    @property
    def accepted(self) -> list[Any]:
        """The `n` of each message that was accepted."""
        return [
            one["data"].get("message", {}).get("n", "closed")
            for one in self.messages
            if one["status"] < 300 and "data" in one
        ]

    async def has(self, *expected: Any) -> None:
        """Wait until exactly these messages have been accepted, in this order."""
        await until(lambda: len(self.accepted) >= len(expected))
        assert self.accepted == list(expected)


@contextlib.contextmanager
def at_time(stamp: int) -> Any:
    """Let the verifier of Standard Webhooks have the time of the sender."""
    from datetime import UTC, datetime
    from unittest import mock

    import standardwebhooks.webhooks as verifier

    class Clock(datetime):
        """A clock that stands."""

        @classmethod
        def now(cls, tz: Any = None) -> Clock:
            """Return the time of the sender."""
            return cls.fromtimestamp(stamp, tz or UTC)

    with mock.patch.object(verifier, "datetime", Clock):
        yield


@contextlib.asynccontextmanager
async def hook(**attributes: Any) -> AsyncIterator[HookReceiver]:
    """A receiver on a free port of loopback."""
    made = HookReceiver()
    for name, value in attributes.items():
        setattr(made, name, value)
    async with web_server(made.handle) as url:
        made.url = f"{url}/hook"
        yield made
