"""Requests as Electric's agents server sends them: a subscription for each agent of a runner.

Its tests of pull-wake pass before Headgate. This is a scene of them, without the agents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.subscriptions.receivers import subscribed
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.subscriptions.receivers import Subscribed

WAKE_STREAM = "runners/runner-1/wake"
AGENTS = {"one": "horton/one/main", "two": "horton/two/main"}


def subscription_of(agent: str) -> str:
    """Return the id of an agent's subscription, as it stands in a URL."""
    return quote(f"runner:runner-1:{agent}", safe="")


async def link(gateway: Subscribed, agent: str) -> int:
    """Link the stream of an agent, and return the status."""
    status, _ = await gateway.put(
        subscription_of(agent),
        type="pull-wake",
        streams=[f"/{AGENTS[agent]}"],
        wake_stream=f"/{WAKE_STREAM}",
        description="Electric Agents runner runner-1",
    )
    return status


async def act(
    gateway: Subscribed, action: str, claimed: dict[str, Any], **members: Any
) -> tuple[int, Any]:
    """Acknowledge or release the wake of the first agent."""
    wake = {"wake_id": claimed["wake_id"], "generation": claimed["generation"]}
    path = f"{subscription_of('one')}/{action}"
    return await gateway.ask("POST", path, wake | members, claimed["token"])


async def claim(gateway: Subscribed, agent: str) -> tuple[int, Any]:
    """Claim the wake of an agent."""
    path = f"{subscription_of(agent)}/claim"
    return await gateway.ask("POST", path, {"worker": "runner-1"})


async def test_agents_of_one_runner_share_its_wake_stream_and_are_claimed_alone() -> None:
    async with subscribed() as gateway:
        await gateway.create(WAKE_STREAM)
        for agent, path in AGENTS.items():
            await gateway.create(path)
            # The agents' server asks for it again when it starts.
            assert [await link(gateway, agent) for _ in range(2)] == [201, 200]
            assert (await claim(gateway, agent))[1]["error"]["code"] == "NO_PENDING_WORK"
            await gateway.append(path, b'{"type":"message","value":"hello"}')
        await until(lambda: _are_told(gateway, 2))
        told = {(it["subscription_id"], it["stream"]) for it in await gateway.read(WAKE_STREAM)}
        assert told == {(f"runner:runner-1:{agent}", path) for agent, path in AGENTS.items()}
        for agent, path in AGENTS.items():
            status, claimed = await claim(gateway, agent)
            assert (status, claimed["generation"]) == (200, 1)
            assert [(it["path"], it["has_pending"]) for it in claimed["streams"]] == [(path, True)]


async def _are_told(gateway: Subscribed, events: int) -> bool:
    return len(await gateway.read(WAKE_STREAM)) >= events


async def test_an_agent_acknowledges_releases_and_is_unlinked_as_its_runner_asks() -> None:
    async with subscribed() as gateway:
        path = AGENTS["one"]
        await gateway.create(WAKE_STREAM)
        await gateway.create(path)
        await link(gateway, "one")
        await gateway.append(path)
        _, claimed = await claim(gateway, "one")
        assert await act(gateway, "release", claimed) == (204, b"")
        _, claimed = await claim(gateway, "one")
        assert (await act(gateway, "ack", claimed))[0] == 200  # a heartbeat
        end = (await gateway.append(path, b'{"type":"run"}')).next_offset  # its own answer
        acks = [{"path": path, "offset": end}]
        done = await act(gateway, "ack", claimed, acks=acks, done=True)
        assert done == (200, {"ok": True, "next_wake": False})
        streams = f"{subscription_of('one')}/streams"
        assert (await gateway.ask("DELETE", f"{streams}/{quote(path, safe='')}"))[0] == 204
        await gateway.append(path)
        assert (await claim(gateway, "one"))[1]["error"]["code"] == "NO_PENDING_WORK"
        added = await gateway.ask("POST", streams, {"streams": [f"/{path}"]})
        assert added[0] in {200, 204}
        await gateway.append(path)
        assert (await claim(gateway, "one"))[0] == 200
