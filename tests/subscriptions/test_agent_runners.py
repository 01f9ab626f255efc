"""Requests as Electric's agents server sends them: a subscription for each agent of a runner.

Its tests of pull-wake pass before Headgate. These are their scenes, without the agents.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.subscriptions.receivers import Subscribed, subscribed
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WAKE_STREAM = "runners/runner-1/wake"
MAIN = "horton/one/main"


def subscription_of(agent: str) -> str:
    """Return the id of an agent's subscription, as it stands in a URL."""
    return quote(f"runner:runner-1:{agent}", safe="")


class Runner:
    """The requests for a runner, which claims the wakes of its agents."""

    def __init__(self, gateway: Subscribed) -> None:
        self.gateway = gateway

    async def link(self, agent: str, path: str) -> int:
        """Link the stream of an agent, and return the status."""
        await self.gateway.create(path)
        status, _ = await self.gateway.put(
            subscription_of(agent),
            type="pull-wake",
            streams=[f"/{path}"],
            wake_stream=f"/{WAKE_STREAM}",
            description="Electric Agents runner runner-1",
        )
        return status

    async def claim(self, agent: str = "one") -> tuple[int, Any]:
        """Claim the wake of an agent."""
        name = subscription_of(agent)
        return await self.gateway.ask("POST", f"{name}/claim", {"worker": "runner-1"})

    async def act(self, action: str, claimed: dict[str, Any], **members: Any) -> tuple[int, Any]:
        """Acknowledge or release the wake of the first agent."""
        wake = {"wake_id": claimed["wake_id"], "generation": claimed["generation"]}
        path = f"{subscription_of('one')}/{action}"
        return await self.gateway.ask("POST", path, wake | members, claimed["token"])

    async def events(self, number: int) -> list[dict[str, Any]]:
        """Return the events of the wake stream once there are so many."""
        found: list[dict[str, Any]] = []

        async def has_them() -> bool:
            found[:] = await self.gateway.read(WAKE_STREAM)
            return len(found) >= number

        await until(has_them)
        return found


@contextlib.asynccontextmanager
async def runner() -> AsyncIterator[Runner]:
    """A gateway with the wake stream of a runner, and one agent."""
    async with subscribed() as gateway:
        made = Runner(gateway)
        await gateway.create(WAKE_STREAM)
        assert await made.link("one", MAIN) == 201
        yield made


async def test_a_message_to_an_agent_writes_one_event_and_its_runner_claims_it() -> None:
    async with runner() as one:
        await one.gateway.append(MAIN, b'{"type":"message","value":"hello"}')
        (event,) = await one.events(1)
        del event["ts"]
        assert event == {
            "type": "wake",
            "subscription_id": "runner:runner-1:one",
            "stream": MAIN,
            "generation": 1,
        }
        status, claimed = await one.claim()
        assert (status, claimed["generation"], type(claimed["token"])) == (200, 1, str)
        assert [(it["path"], it["has_pending"]) for it in claimed["streams"]] == [(MAIN, True)]


async def test_an_agent_that_has_answered_is_woken_again_by_the_next_message() -> None:
    async with runner() as one:
        for generation in (1, 2):
            end = (await one.gateway.append(MAIN)).next_offset
            assert len(await one.events(generation)) == generation
            status, claimed = await one.claim()
            assert (status, claimed["generation"]) == (200, generation)
            assert (await one.act("ack", claimed))[0] == 200  # a heartbeat
            acks = [{"path": MAIN, "offset": end}]
            assert await one.act("ack", claimed, acks=acks, done=True) == (
                200,
                {"ok": True, "next_wake": False},
            )


async def test_what_an_agent_writes_to_its_own_stream_before_its_ack_does_not_wake_it() -> None:
    async with runner() as one:
        await one.gateway.append(MAIN)
        _, claimed = await one.claim()
        end = (await one.gateway.append(MAIN, b'{"type":"run"}')).next_offset
        acks = [{"path": MAIN, "offset": end}]
        assert (await one.act("ack", claimed, acks=acks, done=True))[1]["next_wake"] is False
        assert (await one.claim())[1]["error"]["code"] == "NO_PENDING_WORK"


async def test_a_runner_that_comes_second_and_one_without_work_get_the_codes_that_it_expects() -> (
    None
):
    async with runner() as one:
        assert (await one.claim())[1]["error"]["code"] == "NO_PENDING_WORK"
        await one.gateway.append(MAIN)
        await one.claim()
        status, refusal = await one.claim()
        assert (status, refusal["error"]["code"]) == (409, "ALREADY_CLAIMED")


async def test_a_release_without_further_members_wakes_again() -> None:
    async with runner() as one:
        await one.gateway.append(MAIN)
        await one.events(1)
        _, claimed = await one.claim()
        assert await one.act("release", claimed) == (204, b"")
        assert (await one.events(2))[1]["generation"] == 2


async def test_agents_of_one_runner_share_its_wake_stream_and_are_claimed_alone() -> None:
    async with runner() as one:
        assert await one.link("two", "horton/two/main") == 201
        await one.gateway.append(MAIN)
        await one.gateway.append("horton/two/main")
        events = await one.events(2)
        names = {(it["subscription_id"], it["stream"]) for it in events}
        assert names == {
            ("runner:runner-1:one", MAIN),
            ("runner:runner-1:two", "horton/two/main"),
        }
        for agent, path in (("one", MAIN), ("two", "horton/two/main")):
            _, claimed = await one.claim(agent)
            assert [it["path"] for it in claimed["streams"]] == [path]


async def test_an_agents_server_that_starts_again_finds_its_subscription_and_its_streams() -> None:
    async with runner() as one:
        assert await one.link("one", MAIN) == 200
        _, found = await one.gateway.ask("GET", subscription_of("one"))
        assert (found["type"], found["wake_stream"]) == ("pull-wake", WAKE_STREAM)
        assert [it["path"] for it in found["streams"]] == [MAIN]
        assert (await one.gateway.ask("GET", subscription_of("none")))[0] == 404


async def test_an_agent_that_was_killed_is_unlinked_and_wakes_nobody() -> None:
    async with runner() as one:
        path = f"{subscription_of('one')}/streams/{quote(MAIN, safe='')}"
        assert (await one.gateway.ask("DELETE", path))[0] == 204
        await one.gateway.append(MAIN)
        assert (await one.claim())[1]["error"]["code"] == "NO_PENDING_WORK"
        added = {"streams": [f"/{MAIN}"]}
        path = f"{subscription_of('one')}/streams"
        assert (await one.gateway.ask("POST", path, added))[0] in {200, 204}
        await one.gateway.append(MAIN)
        assert (await one.claim())[0] == 200
