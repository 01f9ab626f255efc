"""Made-up subscriptions, some of them hostile, and changes that are only remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from typing_extensions import override

from admin.errors import ConsoleError
from admin.subscriptions import ConsoleSubscriptions, OfLinks
from gateway.features.questions.subscriptions import (
    LinkRow,
    ReplayResult,
    SubscriptionDescription,
    SubscriptionPage,
    SubscriptionStatus,
    SubscriptionSummary,
    WakeRow,
)

if TYPE_CHECKING:
    from admin.model.viewer import Viewer
    from admin.subscriptions import OfSubscription, OfSubscriptions, ReplayWish

SCRIPT = "<script>alert(1)</script>"
ERROR = "the receiver answered 503; see its log"


def summaries(now: float, hostile: tuple[str, ...]) -> tuple[SubscriptionSummary, ...]:
    """Subscriptions in every state, those with hostile names at the end."""

    def one(name: str, status: SubscriptionStatus = "active", **more: Any) -> SubscriptionSummary:
        members: dict[str, Any] = {
            "route": "/v1/stream",
            "id": name,
            "kind": "webhook",
            "status": status,
            "pattern": f"{name[:40]}/*",
            "receiver": f"https://worker.example/hooks/{name[:60]}",
            "wake_stream": None,
            "owner": "billing",
            "streams": 1_204,
            "pending": 0,
            "oldest_at": None,
            "is_in_flight": False,
            "failures": 0,
            "last_error": None,
        }
        return SubscriptionSummary(**{**members, **more})

    waiting: dict[str, Any] = {"pending": 3, "oldest_at": now - 4.2, "is_in_flight": True}
    pool: dict[str, Any] = {
        "kind": "pull-wake",
        "receiver": None,
        "wake_stream": "wake/pool",
        "pattern": "jobs/**",
    }
    stuck: dict[str, Any] = {
        "failures": 1_460,
        "last_error": "the receiver did not answer within 10 s",
    }
    return (
        one("bills"),
        one("orders", "failed", pending=41, oldest_at=now - 412, failures=9, last_error=ERROR),
        one("pool", **{**pool, **waiting, "owner": "", "streams": 48_210}),
        one("reports", "paused", pending=7, oldest_at=now - 5_400, owner="console"),
        one("archive", "stuck", pending=2, oldest_at=now - 180_000, **stuck),
        *(one(name, receiver=f"https://a.example/{name}", owner=name) for name in hostile),
        one(SCRIPT, "failed", last_error=SCRIPT, pattern=SCRIPT, pending=1),
    )


class MadeUpSubscriptions(ConsoleSubscriptions):
    """A list of made-up subscriptions; `done` are the changes."""

    def __init__(
        self, rows: tuple[SubscriptionSummary, ...], now: float, done: list[tuple[str, ...]]
    ) -> None:
        self.rows = rows
        self.now = now
        self.done = done
        self.prefixes = tuple(dict.fromkeys(row.route for row in rows)) or ("/v1/stream",)

    @override
    async def page(self, query: OfSubscriptions, viewer: Viewer) -> SubscriptionPage:
        states = dict.fromkeys(get_args(SubscriptionStatus), 0)
        for row in self.rows:
            states[row.status] += 1
        found = [
            row
            for row in self.rows
            if query.text.lower() in row.id.lower() and query.status in {None, row.status}
        ]
        after = "more" if len(found) > query.limit else None
        return SubscriptionPage(tuple(found[: query.limit]), len(found), states, after)

    @override
    async def describe(self, query: OfLinks, viewer: Viewer) -> SubscriptionDescription:
        now = self.now
        row = next((it for it in self.rows if it.id == query.id), None)
        if row is None:
            raise ConsoleError(404, "there is no subscription with this id")
        offset = "0000000000000000_0000000000036030"
        links = [
            LinkRow(f"orders/2026-03-{day:02}", False, "-1" if day > 9 else offset, offset, day > 9)
            for day in range(1, 13)
        ]
        links += [
            LinkRow(SCRIPT, True, offset, None, False),
            LinkRow("n" * 900, True, offset, offset, False, True),
        ]
        return SubscriptionDescription(
            row=row,
            description="Sends bills \u202e <b>to customers</b>.",
            lease_ttl_ms=30_000,
            created_at=now - 900_000,
            generation=4_812,
            wake=WakeRow("worker-3", now + 21, 1) if row.kind == "pull-wake" else None,
            paused_at=now - 5_300 if row.status == "paused" else None,
            failing_since=now - 412 if row.failures else None,
            next_attempt_at=now + 48 if row.failures else None,
            links=tuple(it for it in links if it.is_pending or not query.pending),
            after=None,
        )

    @override
    async def delete(self, query: OfSubscription, viewer: Viewer) -> None:
        self.done.append(("delete", query.id))

    @override
    async def pause(self, body: OfSubscription, viewer: Viewer) -> SubscriptionDescription:
        self.done.append(("pause", body.id))
        return await self.describe(OfLinks(body.route, body.id), viewer)

    @override
    async def resume(self, body: OfSubscription, viewer: Viewer) -> SubscriptionDescription:
        self.done.append(("resume", body.id))
        return await self.describe(OfLinks(body.route, body.id), viewer)

    @override
    async def replay(self, body: ReplayWish, viewer: Viewer) -> ReplayResult:
        self.done.append(("replay", body.id))
        return ReplayResult(12, 4_813)
