"""Limits: on subscriptions of a client, on streams of a subscription, on the bytes of a wake."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from headgate_gateway.features.subscriptions import bodies, membership
from headgate_gateway.features.subscriptions.engine import SubscriptionRules
from headgate_gateway.features.subscriptions.state import patterns
from tests.subscriptions.receivers import Subscribed, ends_of, receiver, subscribed

if TYPE_CHECKING:
    import pytest

DONE = {"done": True}


def limit(gateway: Subscribed, **rules: Any) -> None:
    """Have other limits from now on."""
    gateway.engine.renew(gateway.engine.rules._replace(**rules))


def refused(gateway: Subscribed) -> dict[str, float]:
    """Return the refusals by limit."""
    found = {
        one.values[1]: one.number
        for one in gateway.engine.samples()
        if "refusals" in one.metric.name
    }
    return {name: number for name, number in found.items() if number}


def test_the_defaults_are_those_of_the_settings() -> None:
    from headgate_gateway.settings import Settings

    settings, rules = Settings(), SubscriptionRules()
    assert rules.max_per_client == settings.subscriptions.max_per_client


async def test_a_client_gets_as_many_subscriptions_as_the_limit_and_not_one_more() -> None:
    async with subscribed() as gateway:
        limit(gateway, max_per_client=2)
        await gateway.pull("a", pattern="x")
        await gateway.pull("b", pattern="x")
        document = {"type": "pull-wake", "pattern": "x", "wake_stream": "wakes"}
        status, told = await gateway.ask("PUT", "c", document)
        assert (status, told["error"]["code"]) == (429, "LIMIT_REACHED")
        assert told["error"]["limit"] == "max_per_client"
        assert (await gateway.ask("PUT", "b", document))[0] == 200
        assert refused(gateway) == {"max_per_client": 1}
        await gateway.ask("DELETE", "a")
        assert (await gateway.ask("PUT", "c", document))[0] == 201


async def test_a_subscription_has_as_many_streams_as_the_limit_and_not_one_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(membership, "MOST_STREAMS", 2)
    async with subscribed() as gateway, receiver(answer=DONE) as at:
        for name in ("e/1", "e/2"):
            await gateway.create(name)
        await gateway.webhook("s", at, pattern="e/*")
        status, told = await gateway.ask("POST", "s/streams", {"streams": ["a"]})
        assert (status, told["error"]["limit"]) == (429, "max_streams")
        await gateway.create("e/3", body=b'{"n":1}')
        await gateway.quiet()
        assert at.wakes == []
        _, told = await gateway.ask("GET", "s")
        assert (told["status"], len(told["streams"])) == ("failed", 2)
        assert "max_streams" in told["last_error"]
        status, told = await gateway.put(
            "t", type="webhook", webhook={"url": at.url}, pattern="e/*"
        )
        assert (status, told["error"]["limit"]) == (429, "max_streams")
        assert refused(gateway) == {"max_streams": 3}
        # With room, the stream is linked by its next append, from its beginning.
        await gateway.delete("e/1")
        await gateway.append("e/3")
        told = (await at.wake())["streams"]
        assert [(it["path"], it["acked_offset"]) for it in told if it["has_pending"]] == [
            ("e/3", "-1")
        ]


async def test_a_stream_that_one_subscription_has_no_room_for_wakes_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(membership, "MOST_STREAMS", 1)
    async with subscribed() as gateway:
        await gateway.pull("full", pattern="e/*", streams=["a"])
        await gateway.pull("s", pattern="e/*")
        await gateway.create("e/1", body=b'{"n":1}')
        _, claimed = await gateway.claim()
        assert (await gateway.ack(claimed, *ends_of(claimed)))[0] == 200
        await gateway.append("e/1")
        assert (await gateway.claim())[0] == 200


async def test_a_wake_of_the_longest_length_has_all_streams_and_a_longer_one_the_pending() -> None:
    async with subscribed() as gateway, receiver(answer={}) as at:
        await gateway.webhook("s", at, pattern="*")
        for name in ("a", "b", "c"):
            await gateway.create(name)
        await gateway.append("c")
        await at.wake()  # which its lease keeps pending
        subscription = gateway.engine.by_id["s"]
        whole = bodies.snapshot(subscription)
        size = len(json.dumps([json.loads(it) for it in whole.streams], separators=(",", ":")))
        exact = bodies.snapshot(subscription, size + 1)
        assert (len(exact.streams), exact.is_partial) == (3, False)
        short = bodies.snapshot(subscription, size)
        assert [json.loads(it)["path"] for it in short.streams] == ["c"]
        assert short.is_partial


async def test_pending_streams_that_do_not_fit_are_told_by_the_next_wake() -> None:
    async with subscribed() as gateway:
        named = [f"{number:04d}{'x' * 1500}" for number in range(800)]
        await gateway.pull("s", pattern="*")
        for name in named:
            await gateway.create(name, body=b'{"n":1}')
        told: list[dict[str, Any]] = []
        for _ in range(2):
            _, claimed = await gateway.claim()
            assert len(json.dumps(claimed["streams"], separators=(",", ":"))) <= bodies.LONGEST_WAKE
            assert claimed["partial"] is True
            told += claimed["streams"]
            status, _ = await gateway.ack(claimed, *ends_of(claimed))
            assert status == 200
        assert sorted(it["path"] for it in told) == sorted(named)
        assert all(it["has_pending"] for it in told)
        assert refused(gateway) == {"wake_bytes": 2}


def test_names_that_match_nothing_are_forgotten_beyond_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patterns, "MOST_UNLINKED", 2)
    names = patterns.UnlinkedNames()
    for name in ("a", "b", "a", "c"):
        names.add(name)
    assert names == {"c"}
