"""A host of MCP gets the events of streams that are at an HTTP origin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.edge.origins import reference
from tests.mcp_events.hosts import VERSIONS, numbers
from tests.mcp_events.origins import before, before_own
from tests.mcp_events.receivers import hook
from tests.mcp_events.test_streams import following, sent
from tests.mcp_events.test_webhooks import asked
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("mode", VERSIONS)
async def test_polls_give_each_event_of_an_origin_once(mode: str) -> None:
    with reference() as origin:
        async with before(f"{origin.url}/v1/stream") as it, it.host(mode) as client:
            (event,) = (await client.ask("events/list"))["events"]
            assert event["delivery"] == ["push", "poll"]
            await it.create("a", {"n": 0})
            first = await client.poll("a")
            assert (first["events"], first["hasMore"], first["truncated"]) == ([], False, False)
            await it.append("a", {"n": 1})
            second = await client.poll("a", first["cursor"])
            await it.append("a", [{"n": 2}, {"n": 3}])
            third = await client.poll("a", second["cursor"])
            assert (numbers(second), numbers(third)) == ([1], [2, 3])
            assert (await client.poll("a", third["cursor"]))["events"] == []
            again = await client.poll("a", first["cursor"])
            found = [*second["events"], *third["events"]]
            assert [one["eventId"] for one in again["events"]] == [one["eventId"] for one in found]


async def test_events_come_as_they_are_appended_through_the_gateway_and_around_it() -> None:
    async with before_own() as it:
        async with it.host() as client:
            await it.create("a", {"n": 0})
            async with following(client):
                await it.append("a", {"n": 1})
                await until(lambda: sent(client) == [1])
                assert it.gateway.limits.live_readers == 1
                await it.around("POST", "a", [{"n": 2}, {"n": 3}])
                await until(lambda: len(sent(client)) == 3)
                await it.close("a")
                await until(lambda: len(sent(client)) == 4)
        await until(lambda: it.gateway.limits.live_readers == 0)
        assert sorted(map(str, sent(client))) == ["1", "2", "3", "closed"]
        assert len({one["eventId"] for one in client.events.of("event")}) == 4


@pytest.mark.parametrize("mode", VERSIONS)
async def test_webhooks_have_the_events_of_an_origin_in_order(mode: str, tmp_path: Path) -> None:
    with reference() as origin:
        async with (
            hook() as at,
            before(f"{origin.url}/v1/stream", tmp_path) as it,
            it.host(mode, "all") as client,
        ):
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
