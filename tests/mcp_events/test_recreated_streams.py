"""A stream is created again while the receiver of a webhook has had a part of an append."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.mcp_events.hosts import AS_ALL, append, create, engine_of, subscribing
from tests.mcp_events.test_webhooks import asked, pass_time, quiet
from tests.support.serving import PREFIX, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mcp_events.hosts import Host
    from tests.mcp_events.receivers import HookReceiver
    from tests.support.serving import Serving


async def send_a_part(gateway: Serving, at: HookReceiver, it: Host) -> dict[str, Any]:
    """Subscribe, and append two messages, of which the receiver accepts the first."""
    await create(gateway, "a/x")
    made = await it.ask("events/subscribe", **asked(at))
    at.statuses = [200, 500]
    await append(gateway, "a/x", [{"n": 1}, {"n": 2}])
    await until(lambda: len(at.messages) == 2)
    await quiet(gateway)
    return made


async def test_all_messages_of_the_new_stream_are_sent_behind_one_gap(tmp_path: Path) -> None:
    async with subscribing(tmp_path) as (at, gateway, it):
        await send_a_part(gateway, at, it)
        await gateway.route.lifecycle.delete("a/x", None)
        at.statuses = [200, 200, 500]
        await create(gateway, "a/x", b'[{"n":3},{"n":4}]')
        pass_time(gateway, 2.0)
        await until(lambda: len(at.messages) == 5)
        await quiet(gateway)
        pass_time(gateway, 2.0)
        await at.has(1, 3, 4)
        assert [one.get("type") for one in at.messages].count("gap") == 1


async def test_nothing_of_a_deleted_subscription_holds_for_the_next_one(tmp_path: Path) -> None:
    async with subscribing(tmp_path) as (at, gateway, it):
        made = await send_a_part(gateway, at, it)
        target = f"{PREFIX}/__ds/subscriptions/{made['id']}"
        assert (await gateway.ask(request("DELETE", target, AS_ALL))).status == 204
        assert engine_of(gateway).by_id == {}
        await gateway.route.lifecycle.delete("a/x", None)
        await create(gateway, "a/x")
        assert (await it.ask("events/subscribe", **asked(at)))["id"] == made["id"]
        await append(gateway, "a/x", [{"n": 3}, {"n": 4}])
        await at.has(1, 3, 4)


async def test_what_the_former_stream_had_moves_no_cursor_in_the_new_one(tmp_path: Path) -> None:
    async with subscribing(tmp_path) as (at, gateway, it):
        await create(gateway, "a/x")
        await it.ask("events/subscribe", **asked(at))

        async def create_again() -> None:
            at.on_message = None
            await gateway.route.lifecycle.delete("a/x", None)
            await create(gateway, "a/x", b'[{"n":2},{"n":3}]')

        at.on_message = create_again
        await append(gateway, "a/x", {"n": 1, "more": "x" * 1_000})
        await at.has(1, 2, 3)
