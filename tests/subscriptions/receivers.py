"""Receivers of webhooks on loopback, and gateways whose subscriptions call them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from headgate.redis_url import parse_redis
from headgate_gateway.features.redis.mailboxes import RedisMailboxes
from headgate_gateway.features.subscriptions.engine import RouteSubscriptions
from headgate_gateway.features.subscriptions.shared.subscriptions import SharedSubscriptions
from headgate_gateway.features.subscriptions.state.configuration import SubscriptionConfiguration
from headgate_gateway.features.subscriptions.state.subscription import DurableSubscription
from headgate_gateway.features.subscriptions.subscription_handlers import SubscriptionsOfRoute
from headgate_gateway.logs.redis.connector import RedisSettings
from headgate_gateway.logs.redis.log import RedisLog
from tests.support.serving import Serving, get, post, put, request, serving
from tests.support.waiting import until
from tests.support.web_servers import web_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from headgate_gateway.logs.contract import Log
    from headgate_gateway.routes.contract import StreamRoute
    from tests.support.http1 import Answer

    Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


# Makers of the log of a gateway that is given none: the last, or else one in memory.
LOGS: list[Callable[[], Log]] = []


class Receiver:
    """A receiver of webhooks; `answer` is the body of its responses, unless it has `respond`."""

    def __init__(self) -> None:
        self.wakes: list[dict[str, Any]] = []
        self.received: list[tuple[bytes, str]] = []  # body and signature
        self.answer: dict[str, Any] = {}
        self.status = 200
        self.respond: Respond | None = None
        self.url = ""

    async def handle(self, call: web.Request) -> web.StreamResponse:
        """Note a wake, and answer it."""
        body = await call.read()
        self.received.append((body, call.headers["Webhook-Signature"]))
        self.wakes.append(json.loads(body))
        if self.respond is not None:
            return await self.respond(call)
        return web.json_response(self.answer, status=self.status)

    async def wake(self, number: int = 1) -> dict[str, Any]:
        """Return a wake by its number, from 1 on, as soon as it has come."""
        await until(lambda: len(self.wakes) >= number)
        return self.wakes[number - 1]


@contextlib.asynccontextmanager
async def receiver(**attributes: Any) -> AsyncIterator[Receiver]:
    """A receiver on a free port of loopback."""
    made = Receiver()
    for name, value in attributes.items():
        setattr(made, name, value)
    async with web_server(made.handle) as url:
        made.url = f"{url}/hook"
        yield made


def subscriptions_of(route: StreamRoute) -> RouteSubscriptions | SharedSubscriptions:
    """Return the subscriptions of a route, loaded but perhaps not open."""
    feature = route.features["subscriptions"].loaded()
    assert isinstance(feature, SubscriptionsOfRoute)
    return feature.subscriptions


class Subscribed:
    """A gateway, and requests to its subscriptions."""

    def __init__(self, gateway: Serving, route: StreamRoute | None = None) -> None:
        """`route` is that of the subscriptions, by default the one to the gateway's own log."""
        self.gateway = gateway
        route = route or gateway.route
        self.prefix = route.prefix
        self.subscriptions = subscriptions_of(route)

    @property
    def engine(self) -> RouteSubscriptions:
        """The subscriptions, which this gateway delivers."""
        if isinstance(self.subscriptions, RouteSubscriptions):
            return self.subscriptions
        assert self.subscriptions.engine is not None, "another gateway delivers"
        return self.subscriptions.engine

    async def ask(
        self, method: str, path: str, document: object = None, token: str | None = None
    ) -> tuple[int, Any]:
        """Return status and body of a request below `__ds/subscriptions/`."""
        body = b"" if document is None else json.dumps(document).encode()
        lines = [] if token is None else [f"Authorization: Bearer {token}"]
        if document is not None:
            lines.append("Content-Type: application/json")
        target = f"{self.prefix}/__ds/subscriptions/{path}"
        answer = await self.gateway.ask(request(method, target, *lines, body=body))
        is_json = "json" in (answer.get("Content-Type") or "")
        return answer.status, json.loads(answer.body) if is_json else answer.body

    async def put(self, name: str, **members: Any) -> tuple[int, Any]:
        """Create or confirm a subscription."""
        return await self.ask("PUT", name, members)

    async def webhook(self, name: str, at: Receiver, **members: Any) -> None:
        """Create a subscription of a receiver."""
        status, told = await self.put(name, type="webhook", webhook={"url": at.url}, **members)
        assert status == 201, told

    async def pull(self, name: str, **members: Any) -> None:
        """Create a pull-wake subscription with the wake stream `wakes`."""
        await self.create("wakes", body=b"[]")
        members = {"wake_stream": "wakes", **members}
        status, told = await self.put(name, type="pull-wake", **members)
        assert status == 201, told

    async def create(self, name: str, *lines: str, body: bytes = b"") -> Answer:
        """Create a JSON stream."""
        target = f"{self.prefix}/{name}"
        return await self._written(put(target, *lines, body=body, content_type="application/json"))

    async def append(self, name: str, body: bytes = b'{"n":1}', *lines: str) -> Answer:
        """Append to a JSON stream."""
        target = f"{self.prefix}/{name}"
        return await self._written(post(target, body, *lines, content_type="application/json"))

    async def read(self, name: str) -> Any:
        """Return the messages of a JSON stream."""
        return json.loads((await self.gateway.ask(get(f"{self.prefix}/{name}"))).body)

    async def delete(self, name: str) -> int:
        """Delete a stream."""
        return (await self._written(request("DELETE", f"{self.prefix}/{name}"))).status

    async def _written(self, data: bytes) -> Answer:
        """Return the answer to a write, once the subscriptions of a shared log know of it."""
        answer = await self.gateway.ask(data)
        await until(self._knows_changes)
        return answer

    def _knows_changes(self) -> bool:
        """Return whether the subscriptions of a shared log have taken every change so far."""
        if not isinstance(self.subscriptions, SharedSubscriptions):
            return True
        changed = self.subscriptions.changed
        return not changed._paths and not changed._wakened.is_set()

    async def callback(
        self, wake: dict[str, Any], *acks: tuple[str, str], done: bool = True
    ) -> Any:
        """Call back for a wake."""
        path = f"{wake['subscription_id']}/callback"
        return await self._work(path, wake, wake["callback_token"], acks, done=done)

    async def claim(self, worker: str = "w", name: str = "s") -> tuple[int, Any]:
        """Claim a subscription."""
        return await self.ask("POST", f"{name}/claim", {"worker": worker})

    async def ack(
        self,
        claimed: dict[str, Any],
        *acks: tuple[str, str],
        name: str = "s",
        action: str = "ack",
        done: bool = True,
    ) -> tuple[int, Any]:
        """Acknowledge what was claimed, or release it by another `action`."""
        return await self._work(f"{name}/{action}", claimed, claimed["token"], acks, done=done)

    async def _work(
        self,
        path: str,
        wake: dict[str, Any],
        token: str,
        acks: Sequence[tuple[str, str]],
        *,
        done: bool,
    ) -> tuple[int, Any]:
        document = {
            "wake_id": wake["wake_id"],
            "generation": wake["generation"],
            "acks": [{"stream": name, "offset": offset} for name, offset in acks],
            "done": done,
        }
        return await self.ask("POST", path, document, token)

    async def cursors(self, name: str) -> dict[str, str]:
        """Return the cursors of a subscription by stream."""
        _, told = await self.ask("GET", name)
        return {one["path"]: one["acked_offset"] for one in told["streams"]}

    async def quiet(self) -> None:
        """Wait until what has changed was read, and no delivery waits or runs."""
        await until(self._is_quiet)

    def _is_quiet(self) -> bool:
        deliveries = self.engine.deliveries
        return self._knows_changes() and not (deliveries.running or deliveries.waiting)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and act on the deadlines that are over then."""
        self.gateway.clock.advance(seconds)
        self.engine.wakes.timer.run_due()


@contextlib.asynccontextmanager
async def subscribed(log: Log | None = None, **options: Any) -> AsyncIterator[Subscribed]:
    """A gateway with subscriptions, which ends with the block; the log is of the kind in force."""
    log = LOGS[-1]() if log is None and LOGS else log
    async with serving(log, **options) as gateway:
        made = Subscribed(gateway)
        await made.subscriptions.open()
        if isinstance(made.subscriptions, RouteSubscriptions):
            await made.subscriptions.wait_until_open()
        try:
            yield made
        finally:
            await made.subscriptions.close()
            await asyncio.sleep(0)


def subscription_of(name: str, pattern: str) -> DurableSubscription:
    """Return a pull-wake subscription that is not stored."""
    configuration = SubscriptionConfiguration(
        type="pull-wake",
        pattern=pattern,
        streams=(),
        webhook_url=None,
        wake_stream="wakes",
        lease_ttl_ms=30_000,
        description=None,
    )
    return DurableSubscription(name, "b", 0.0, configuration, None)


def log_at(url: str) -> RedisLog:
    """Return a log in a Redis."""
    return RedisLog(RedisSettings(parse_redis(url)))


@contextlib.asynccontextmanager
async def two(url: str, **options: Any) -> AsyncIterator[tuple[Subscribed, Subscribed]]:
    """Two gateways of one log; the first delivers."""
    async with (
        subscribed(log_at(url), **options) as owner,
        subscribed(log_at(url), **options) as other,
    ):
        check_owner(owner, other)
        yield owner, other


def check_owner(owner: Subscribed, other: Subscribed) -> None:
    """Check that the first of two gateways delivers, and that the other one knows it."""
    assert shared(owner).engine is not None
    assert shared(other).lease.other_owner == shared(owner).lease.name


def shared(gateway: Subscribed) -> SharedSubscriptions:
    """Return the subscriptions of a gateway, which may be another one's to deliver."""
    assert isinstance(gateway.subscriptions, SharedSubscriptions)
    return gateway.subscriptions


@contextlib.contextmanager
def deaf(gateway: Subscribed) -> Iterator[None]:
    """Have no message of other gateways reach a gateway until the block ends."""
    log, name = gateway.gateway.log, shared(gateway).lease.name
    assert isinstance(log, RedisLog)
    RedisMailboxes(log.store).close(name)
    try:
        yield
    finally:
        RedisMailboxes(log.store).open(name, lambda _: None)  # the end of the gateway closes it


def ends_of(wake: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the streams of a wake with their tails, as acks have them."""
    return [(one["path"], one["tail_offset"]) for one in wake["streams"]]


def stream_of(wake: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a stream of a wake."""
    return next(one for one in wake["streams"] if one["path"] == path)


def is_signed(body: bytes, signature: str, jwks: dict[str, Any]) -> bool:
    """Return whether a body has the signature of a key in a set; raises if it is a wrong one."""
    parts = dict(part.split("=", 1) for part in signature.split(","))
    key = next(it for it in jwks["keys"] if it["kid"] == parts["kid"])
    public = Ed25519PublicKey.from_public_bytes(_bytes(key["x"]))
    public.verify(_bytes(parts["ed25519"]), parts["t"].encode() + b"." + body)
    return True


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
