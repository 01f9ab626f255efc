"""Webhooks have the events of streams at an HTTP origin, over restarts, outages and losses."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from mcp.shared.exceptions import MCPError

from tests.mcp_events.hosts import GRANTS, numbers, types_file
from tests.mcp_events.origins import before, before_own
from tests.mcp_events.receivers import hook
from tests.mcp_events.test_restarts import send_over_kills
from tests.mcp_events.test_webhooks import asked, code_of
from tests.support.origin_servers import own_log, reference
from tests.support.processes import Headgate
from tests.support.tokens_files import write_tokens
from tests.support.waiting import until
from tests.support.web_servers import web_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mcp_events.receivers import HookReceiver

TEXT = "Content-Type: text/plain"


def ids(at: HookReceiver) -> dict[Any, set[str]]:
    """Return the ids under which each message came."""
    found: dict[Any, set[str]] = {}
    for one in at.messages:
        if "data" in one:
            number = one["data"].get("message", {}).get("n", "closed")
            found.setdefault(number, set()).add(one["eventId"])
    return found


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_webhooks_have_the_events_of_an_origin_in_order(mode: str, tmp_path: Path) -> None:
    with reference() as origin:
        async with (
            hook() as at,
            before(f"{origin.url}/v1/stream", tmp_path) as it,
            it.host(mode, "all") as client,
        ):
            (event,) = (await client.ask("events/list"))["events"]
            assert event["delivery"] == ["webhook", "push", "poll"]
            await it.create("a/x", {"n": 0})
            made = await client.ask("events/subscribe", **asked(at))
            await it.append("a/x", {"n": 1})
            await it.append("a/x", [{"n": 2}, {"n": 3}])
            await it.close("a/x")
            await at.has(1, 2, 3, "closed")
            polled = await client.poll("a/x", made["cursor"])
            assert [one["eventId"] for one in polled["events"]] == [
                one["eventId"] for one in at.messages
            ]
            await client.ask("events/unsubscribe", **asked(at))
            assert it.engine.by_id == {}


async def test_events_of_all_streams_that_match_come_from_an_origin(tmp_path: Path) -> None:
    file = types_file(tmp_path, '[[events]]\nname = "a"\nstreams = "a/*"\n')
    async with (
        hook() as at,
        before_own(tmp_path, own=file) as it,
        it.host(name="reader") as client,
    ):
        await it.create("a/old", {"n": 0})
        made = await client.ask("events/subscribe", **{**asked(at, None), "name": "a"})
        assert made["cursor"] is None
        await it.create("a/new", {"n": 1})
        await at.has(1)
        await it.create("b/new", {"n": 2})
        await it.append("a/old", {"n": 3})
        await at.has(1, 3)


async def test_what_is_appended_around_the_gateway_comes_with_the_next_look(
    tmp_path: Path,
) -> None:
    async with hook() as at, before_own(tmp_path) as it, it.host(name="all") as client:
        await it.create("a/x")
        await client.ask("events/subscribe", **asked(at))
        await it.around("POST", "a/x", [{"n": 1}, {"n": 2}])
        it.engine.origin_streams.checks.soon("a/x")
        await at.has(1, 2)


async def test_a_refused_event_is_repeated_with_its_id_though_more_is_read_by_then(
    tmp_path: Path,
) -> None:
    async with (
        hook(statuses=[500]) as at,
        before_own(tmp_path) as it,
        it.host(name="all") as client,
    ):
        await it.create("a/x")
        await client.ask("events/subscribe", **asked(at))
        await it.append("a/x", {"n": 1})
        await until(lambda: len(at.messages) == 1)
        await it.append("a/x", [{"n": 2}, {"n": 3}])
        await it.quiet()
        it.pass_time(2.0)
        await at.has(1, 2, 3)
        assert [len(it) for it in ids(at).values()] == [1, 1, 1]


@pytest.mark.usefixtures("processes")
async def test_events_go_on_after_a_restart_of_the_gateway_with_the_same_ids(
    tmp_path: Path,
) -> None:
    place = f"file:{tmp_path / 'subscriptions'}"
    with own_log() as origin:
        url = f"{origin.url}/v1/stream"
        async with hook(statuses=[200, 500, 500]) as at:
            async with before(url, tmp_path, place=place) as it, it.host(name="all") as client:
                await it.create("a/x")
                await client.ask("events/subscribe", **asked(at))
                await it.append("a/x", [{"n": 1}, {"n": 2}])
                await until(lambda: len(at.messages) == 2)
            at.statuses.clear()
            async with before(url, tmp_path, place=place) as it:
                it.pass_time(2.0)
                await it.append("a/x", {"n": 3})
                await until(lambda: 3 in at.accepted)
        assert sorted(set(at.accepted)) == [1, 2, 3]
        assert [len(it) for it in ids(at).values()] == [1, 1, 1]


@pytest.mark.usefixtures("processes")
async def test_a_restart_within_a_long_read_repeats_only_what_was_not_accepted(
    tmp_path: Path,
) -> None:
    place = f"file:{tmp_path / 'subscriptions'}"
    with own_log() as origin:
        url = f"{origin.url}/v1/stream"
        async with hook(statuses=[200] * 150 + [500] * 9) as at:
            async with before(url, tmp_path, place=place) as it, it.host(name="all") as client:
                await it.create("a/x")
                await client.ask("events/subscribe", **asked(at))
                await it.append("a/x", [{"n": n} for n in range(200)])
                await until(lambda: len(at.messages) > 150)
            at.statuses.clear()
            async with before(url, tmp_path, place=place) as it:
                it.pass_time(10.0)
                await at.has(*range(200))
        assert {len(it) for it in ids(at).values()} == {1}


async def test_a_long_read_that_must_not_be_stored_is_asked_for_once(tmp_path: Path) -> None:
    body = json.dumps([{"n": n} for n in range(300)]).encode()
    reads: list[str] = []

    async def answer(call: web.Request) -> web.Response:
        fields = {"Stream-Next-Offset": "300", "Cache-Control": "no-store"}
        if call.method == "GET":
            reads.append(call.query["offset"])
        fields["Stream-Up-To-Date"] = "true"
        return web.Response(body=body, content_type="application/json", headers=fields)

    async with (
        web_server(answer) as url,
        hook() as at,
        before(url, tmp_path) as it,
        it.host(name="all") as client,
    ):
        cursor = f"o{'A' * 16}.0.0.-1"
        await client.ask("events/subscribe", **asked(at, cursor=cursor))
        await at.has(*range(300))
        assert reads == ["-1"] * 2  # the first has shown that the cursor is valid


@pytest.mark.usefixtures("processes")
async def test_events_wait_while_their_origin_is_down(tmp_path: Path) -> None:
    with own_log(f"file:{tmp_path / 'log'}") as origin:
        async with (
            hook(statuses=[500]) as at,
            before(f"{origin.url}/v1/stream", tmp_path, own={"stale_if_error": 0}) as it,
            it.host(name="all") as client,
        ):
            await it.create("a/x")
            await client.ask("events/subscribe", **asked(at))
            await it.append("a/x", {"n": 1})
            await until(lambda: len(at.messages) == 1)
            await it.quiet()
            origin.kill()
            it.gateway.store.clear()
            it.pass_time(2.0)
            (subscription,) = it.engine.by_id.values()
            await until(lambda: subscription.delivery.failures == 2)
            assert len(at.messages) == 1
            await asyncio.to_thread(origin.start)
            await until(lambda: not it.gateway.edge.origin.servers.are_down())
            it.pass_time(10.0)
            await at.has(1)


async def test_what_retention_at_the_origin_has_removed_is_a_gap(tmp_path: Path) -> None:
    async with (
        hook(statuses=[500]) as at,
        before_own(tmp_path, origin_own={"retention_messages": 2}) as it,
        it.host(name="all") as client,
    ):
        await it.create("a/x")
        made = await client.ask("events/subscribe", **asked(at))
        await it.append("a/x", {"n": 1})
        await until(lambda: len(at.messages) == 1)
        for n in range(2, 6):
            await it.append("a/x", {"n": n})
        it.gateway.store.clear()
        await it.quiet()
        it.pass_time(2.0)
        await at.has(4, 5)
        gaps = [one for one in at.messages if one.get("type") == "gap"]
        polled = await client.poll("a/x", gaps[0]["cursor"])
        assert (numbers(polled), polled["truncated"]) == ([4, 5], False)
        assert [one["eventId"] for one in polled["events"]] == [
            one["eventId"] for one in at.messages[-2:]
        ]
        missed = await client.poll("a/x", made["cursor"])
        assert (numbers(missed), missed["truncated"]) == ([4, 5], True)


async def test_a_stream_that_is_created_again_through_the_gateway_is_a_gap(tmp_path: Path) -> None:
    async with hook() as at, before_own(tmp_path) as it, it.host(name="all") as client:
        await it.create("a/x", {"n": 0})
        await client.ask("events/subscribe", **asked(at))
        await it.append("a/x", {"n": 1})
        await at.has(1)
        assert (await it.ask("DELETE", "a/x")).status == 204
        await it.create("a/x", {"n": 2})
        await at.has(1, 2)
        assert [one.get("type") for one in at.messages] == [None, "gap", None]


async def test_text_of_an_origin_comes_in_pieces_that_fit_into_events(tmp_path: Path) -> None:
    async with hook() as at, before_own(tmp_path) as it, it.host(name="all") as client:
        await it.create("a/x", None, TEXT)
        made = await client.ask("events/subscribe", **asked(at))
        text = "é\u0001" * 40_000
        await it.append("a/x", text.encode(), TEXT)
        await until(lambda: "".join(one["data"]["text"] for one in at.messages) == text)
        assert len(at.messages) == 4
        polled = await client.poll("a/x", made["cursor"])
        assert [one["eventId"] for one in polled["events"]] == [
            one["eventId"] for one in at.messages
        ]


async def test_a_forged_cursor_ends_at_the_tail_and_harms_no_other_subscription(
    tmp_path: Path,
) -> None:
    async with (
        hook() as at,
        hook() as other,
        before_own(tmp_path) as it,
        it.host(name="all") as client,
        it.host(name="other") as attacker,
    ):
        await it.create("a/x", {"n": 0})
        made = await client.ask("events/subscribe", **asked(at))
        forged = made["cursor"].rsplit(".", 1)[0] + ".9999999999999999_9999999999999999"
        with pytest.raises(MCPError, match="origin"):
            await attacker.ask("events/subscribe", **asked(other, cursor=forged))
        assert [len(it.links) for it in it.engine.by_id.values()] == [1]
        skipping = made["cursor"].replace(".0.0000", ".999.0000", 1)
        await attacker.ask("events/subscribe", **asked(other, cursor=skipping))
        await it.append("a/x", {"n": 1})
        await it.append("a/x", {"n": 2})
        await at.has(1, 2)
        await until(lambda: any(one.get("type") == "gap" for one in other.messages))
        for cursor in ("o.0.0.x", forged.replace("o", "p", 1), "x" * 600, 7):
            code, _ = await code_of(attacker, "events/subscribe", asked(other, cursor=cursor))
            assert code == -32602


async def test_a_gap_up_to_the_tail_leaves_nothing_pending(tmp_path: Path) -> None:
    async with hook() as at, before_own(tmp_path) as it, it.host(name="all") as client:
        await it.create("a/x", {"n": 0})
        tail = (await client.poll("a/x"))["cursor"]
        skipping = tail.replace(".0.0000", ".999.0000", 1)
        await client.ask("events/subscribe", **asked(at, cursor=skipping))
        await it.append("a/x", {"n": 1})
        await until(lambda: [one.get("type") for one in at.messages] == ["gap"])
        (subscription,) = it.engine.by_id.values()
        await until(lambda: not subscription.pending)
        await it.append("a/x", {"n": 2})
        await at.has(2)


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [reference, own_log])
def test_a_gateway_that_is_killed_before_an_origin_sends_each_event(
    kind: Any, tmp_path: Path
) -> None:
    tokens = write_tokens(tmp_path, GRANTS, without="", prefix="/v1/stream")
    with kind() as origin:
        server = Headgate(environment={"HEADGATE_CREDENTIALS__TOKENS_FILE": tokens})
        server.serve_routes(
            {
                "prefix": "/v1/stream",
                "origin": origin.url,
                "auth": "tokens",
                "mcp_events": True,
                "subscriptions": f"file:{tmp_path}/subscriptions",
            }
        )
        try:
            asyncio.run(send_over_kills(server))
        finally:
            server.kill()
        assert "Traceback" not in server.output()
