"""Two gateways of one Redis: one delivers, both answer, and one takes over from the other."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from headgate_gateway.features.subscriptions.shared import mail
from headgate_gateway.features.subscriptions.shared.beats import BEAT_S, MISSES
from headgate_gateway.features.subscriptions.shared.changes import ReportedChanges
from headgate_gateway.features.subscriptions.shared.lease import work_sharing_of
from tests.subscriptions.in_processes import subscribe, write
from tests.subscriptions.receivers import (
    deaf,
    ends_of,
    is_signed,
    log_at,
    receiver,
    shared,
    stream_of,
    subscribed,
    two,
)
from tests.subscriptions.test_access import OWN, PULL, tokens_file
from tests.support.processes import headgate
from tests.support.redis_servers import redis_server
from tests.support.serving import PREFIX, get, request
from tests.support.tokens_files import token
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from headgate_gateway.protocol.streams.state import StreamState
    from tests.support.redis_servers import RedisServer

DONE = {"done": True}
# After the last beat of a gateway that was killed, and then some for a busy machine.
TAKE_OVER_S = MISSES * BEAT_S + 5.0


async def test_requests_to_another_gateway_are_answered_as_by_the_one_that_delivers(
    redis_url: str,
) -> None:
    async with two(redis_url) as (owner, other), receiver() as at:
        await other.webhook("s", at, pattern="*", lease_ttl_ms=1000)
        assert await other.ask("GET", "s") == await owner.ask("GET", "s")
        await other.create("a", body=b'{"n":1}')
        wake = await at.wake()
        await owner.quiet()
        forged = {**wake, "callback_token": wake["callback_token"][:-2] + "xx"}
        assert (await other.callback(forged, *ends_of(wake)))[0] == 401
        beyond = ("a", wake["streams"][0]["tail_offset"][:-1] + "9")
        status, told = await other.callback(wake, beyond)
        assert (status, told["error"]["code"]) == (409, "INVALID_OFFSET")
        answer = await other.callback(wake, *ends_of(wake))
        assert answer == (200, {"ok": True, "next_wake": False})
        assert (await other.callback(wake, *ends_of(wake)))[1]["error"]["code"] == "FENCED"
        assert (await other.ask("GET", "missing"))[0] == 404
        assert (await other.ask("PATCH", "s"))[0] == 405
        assert (await other.ask("DELETE", "s"))[0] == 204
        assert (await owner.ask("GET", "s"))[0] == 404
        assert shared(other).engine is None


async def test_keys_are_one_set_which_any_gateway_publishes(redis_url: str) -> None:
    async with two(redis_url) as (owner, other), receiver() as at:
        await owner.webhook("s", at, pattern="*")
        await owner.create("a", body=b'{"n":1}')
        await at.wake()
        target = f"{PREFIX}/__ds/jwks.json"
        published = [json.loads((await it.gateway.ask(get(target))).body) for it in (owner, other)]
        assert published[0] == published[1]
        assert is_signed(*at.received[0], published[1])


async def test_keys_that_nobody_has_made_are_made_by_the_gateway_that_delivers(
    redis_url: str,
) -> None:
    async with two(redis_url) as (owner, other):
        answer = await other.gateway.ask(get(f"{PREFIX}/__ds/jwks.json"))
        assert len(json.loads(answer.body)["keys"]) == 1
        assert json.loads(answer.body) == owner.engine.keys.jwks()


async def test_access_is_judged_the_same_through_either_gateway(
    redis_url: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"own": OWN, "tokens_file": tokens_file(tmp_path)}
    async with two(redis_url, **options) as gateways:
        for number, gateway in enumerate(gateways):
            name = f"s{number}"
            for who, status in {None: 401, "reader": 403, "worker": 201}.items():
                sent = None if who is None else token(who)
                assert (await gateway.ask("PUT", name, PULL, sent))[0] == status
        for gateway in gateways:
            for name in ("s0", "s1"):
                assert (await gateway.ask("GET", name, None, token("worker")))[0] == 200
                assert (await gateway.ask("GET", name, None, token("other")))[0] == 200
                assert (await gateway.ask("GET", name, None, token("one")))[0] == 403
                assert (await gateway.ask("DELETE", name))[0] == 401


async def test_what_one_gateway_appends_wakes_through_the_other(redis_url: str) -> None:
    async with two(redis_url) as (owner, other), receiver(answer=DONE) as at:
        await owner.webhook("s", at, pattern="e/**")
        for number in range(1, 4):
            await other.create(f"e/{number}", body=b'{"n":1}')
            await at.wake(number)
        await other.create("elsewhere", body=b'{"n":1}')
        await other.delete("e/1")
        await owner.quiet()
        await until(lambda: "e/1" not in owner.engine.by_id["s"].links)
        assert "elsewhere" not in owner.engine.membership.streams


async def test_what_changes_while_streams_are_linked_by_name_wakes(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(redis_url) as (owner, other), receiver() as at:
        await other.create("old", body=b'{"n":1}')
        read = owner.engine.streams.read

        async def read_and_change(names: Sequence[str]) -> Any:
            states = await read(names)
            await other.append("old")
            await other.create("new", body=b'{"n":1}')
            return states

        monkeypatch.setattr(owner.engine.streams, "read", read_and_change)
        await owner.webhook("s", at, streams=["old", "new"])
        wake = await at.wake()
        assert [it["path"] for it in wake["streams"] if it["has_pending"]] == ["new", "old"]


async def test_what_was_not_reported_is_found_by_a_comparison(redis_url: str) -> None:
    async with two(redis_url) as (owner, other), receiver(answer=DONE) as at:
        await owner.webhook("s", at, pattern="*")
        await owner.create("old", body=b'{"n":1}')
        await owner.create("gone", body=b'{"n":1}')
        await owner.quiet()
        other.gateway.route.table.commits.observers.clear()  # as if it were killed behind a commit
        await other.append("old", b'{"n":2}')
        await other.create("new", body=b'{"n":1}')
        await other.delete("gone")
        shared(owner).comparisons.schedule()

        async def is_found() -> bool:
            cursors = await owner.cursors("s")
            return cursors.keys() == {"old", "new"} and not owner.engine.by_id["s"].pending

        await until(is_found)
        other.gateway.route.table.commits.observers[:] = [shared(other).changed.on_commit]


@pytest.mark.parametrize("number", [2, 3, 4])
@pytest.mark.parametrize("by_owner", [False, True], ids=["another", "owner"])
async def test_when_more_streams_have_changed_than_may_wait_all_are_compared(
    redis_url: str, number: int, *, by_owner: bool
) -> None:
    async with two(redis_url) as (owner, other), receiver(answer=DONE) as at:
        await owner.webhook("s", at, pattern="*")
        comparisons = shared(owner).comparisons
        comparisons.schedule(3600.0)  # in place of the one that follows the first subscription
        made = comparisons.made
        changing = owner if by_owner else other
        sharing = work_sharing_of(changing.gateway.log)
        assert sharing is not None
        changed = ReportedChanges(sharing, shared(changing).loader, comparisons.schedule, most=3)
        changing.gateway.route.table.commits.observers[:] = [changed.on_commit]
        changed.is_active = True
        names = {f"e{it}" for it in range(number)}
        for name in names:
            await changing.create(name, body=b'{"n":1}')
        changed.start()

        async def are_found() -> bool:
            cursors = await owner.cursors("s")
            return cursors.keys() == names and not owner.engine.by_id["s"].pending

        await until(are_found)
        assert changed.overflows == max(0, number - 3)
        if changed.overflows:
            await until(lambda: comparisons.made > made)
        await changed.stop()
        changing.gateway.route.table.commits.observers[:] = [shared(changing).changed.on_commit]


async def test_streams_that_the_owner_appends_to_are_not_read_again_in_redis(
    redis: RedisServer, redis_url: str
) -> None:
    async with two(redis_url) as (owner, other):
        await owner.pull("s", pattern="e/*")
        await until(lambda: shared(other).changed.is_active)
        await owner.create("e/1")
        await owner.append("e/1")
        claim = (await owner.claim())[1]
        shared(owner).comparisons.schedule(3600.0)  # in place of the one that follows the first
        await owner.quiet()
        before = redis.info("commandstats")["cmdstat_fcall"]["calls"]
        end = ""
        for _ in range(20):
            end = (await owner.append("e/1")).next_offset
        link = owner.engine.by_id["s"].links["e/1"]
        await until(lambda: link.stream.state is not None and link.stream.state.tail == 7 * 21)
        calls = redis.info("commandstats")["cmdstat_fcall"]["calls"] - before
        assert calls < 30  # the commits, and a few for the event of the wake
        answer = await owner.ack(claim, ("e/1", end))
        assert answer == (200, {"ok": True, "next_wake": False})


async def test_100_000_changed_streams_may_wait_and_one_more_has_all_compared(
    redis_url: str,
) -> None:
    async with two(redis_url) as (owner, other):
        await owner.pull("s", pattern="*")
        changed, made = shared(other).changed, shared(owner).comparisons.made
        for number in range(100_000):
            changed.note(f"e{number}", is_new=True)
        assert changed.overflows == 0
        changed.note("e0", is_new=True)
        assert changed.overflows == 0
        changed.note("one-more", is_new=True)
        assert changed.overflows == 1
        await until(lambda: shared(owner).comparisons.made > made)


async def test_a_gateway_that_stops_is_followed_at_once_by_another(redis_url: str) -> None:
    async with receiver() as at, subscribed(log_at(redis_url)) as owner:
        await owner.webhook("s", at, pattern="*")
        async with subscribed(log_at(redis_url)) as other:
            await owner.create("a", body=b'{"n":1}')
            wake = await at.wake()
            began = time.monotonic()
            await shared(owner).close()
            await until(lambda: shared(other).engine is not None)
            assert time.monotonic() - began < MISSES * BEAT_S
            assert await other.callback(wake, *ends_of(wake)) == (
                200,
                {"ok": True, "next_wake": False},
            )
            await other.append("a")
            assert (await at.wake(2))["generation"] == 2
            await shared(owner).open()  # closed by the block


async def test_a_gateway_that_stood_still_delivers_nothing_any_more(redis_url: str) -> None:
    async with two(redis_url) as (owner, other), receiver() as at:
        await owner.webhook("s", at, pattern="*")
        await owner.create("a", body=b'{"n":1}')
        wake = await at.wake()
        await owner.quiet()
        former = owner.engine
        await shared(owner).stop()  # its beats
        await until(lambda: shared(other).engine is not None, within_s=TAKE_OVER_S)
        assert shared(owner).engine is former
        former.wakes.retry_now(former.by_id["s"])
        await until(lambda: not former.deliveries.running)
        status, told = await owner.callback(wake, *ends_of(wake))
        assert (status, told) == (200, {"ok": True, "next_wake": False})  # by the other one
        assert shared(owner).engine is None
        assert former.by_id["s"].links["a"].is_pending
        assert not other.engine.by_id["s"].pending
        assert len(at.wakes) == 1


async def test_requests_get_503_while_no_gateway_can_deliver(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "headgate_gateway.features.subscriptions.shared.subscriptions.PATIENCE_S", 1.0
    )
    async with two(redis_url) as (owner, other):
        await shared(owner).stop()
        with deaf(owner):
            answer = await other.gateway.ask(request("GET", f"{PREFIX}/__ds/subscriptions/s"))
        assert answer.status == 503
        assert int(answer.get("Retry-After") or 0) > 0


# In processes of their own


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_another_gateway_takes_over_within_seconds_and_finds_what_was_appended(
    number: signal.Signals, tmp_path: Path
) -> None:
    with (
        redis_server(tmp_path) as redis,
        headgate(redis.url) as first,
        headgate(redis.url) as other,
    ):
        async with receiver(answer=DONE) as at, aiohttp.ClientSession() as http:
            await subscribe(first, at, pattern="*")
            assert await write(other, "PUT", "a") == 201
            await at.wake()
            first.process.send_signal(number)  # type: ignore[union-attr] # it runs
            began = time.monotonic()
            assert await write(other, "PUT", "b") == 201
            await at.wake(2)
            waited = time.monotonic() - began
            url = f"{other.streams}/__ds/subscriptions/s"
            async with http.get(url) as answer:
                assert answer.status == 200
            assert waited < TAKE_OVER_S
            first.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr] # or is dead
            await asyncio.sleep(0)


@pytest.mark.parametrize("is_new", [True, False])
async def test_a_stream_that_is_reported_while_others_are_linked_is_linked_at_its_tail(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, *, is_new: bool
) -> None:
    async with receiver(answer=DONE) as at:
        async with two(redis_url) as (owner, other):
            await owner.webhook("first", at, pattern="others/*")
            await other.create("events/a", body=b'{"n":1}')
            tail = (await other.gateway.ask(get(f"{PREFIX}/events/a"))).next_offset
            engine = shared(owner).engine
            assert engine is not None
            states = engine.streams.states

            async def states_behind_a_report(beginning: str) -> AsyncIterator[StreamState]:
                await engine.apply_notes({"events/a": is_new})
                async for state in states(beginning):
                    yield state

            monkeypatch.setattr(engine.streams, "states", states_behind_a_report)
            await other.webhook("s", at, pattern="events/*")
            assert await other.cursors("s") == {"events/a": tail}
        async with subscribed(log_at(redis_url)) as later:
            assert await later.cursors("s") == {"events/a": tail}
            await later.append("events/a")
            assert stream_of(await at.wake(), "events/a")["acked_offset"] == tail


async def test_a_stream_that_is_not_reported_yet_is_linked_by_its_name_at_its_beginning(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def take_none(_: object) -> tuple[str, ...]:
        return ()

    async with two(redis_url) as (owner, other), receiver(answer=DONE) as at:
        await owner.webhook("s", at, pattern="events/*")
        with monkeypatch.context() as delay:
            delay.setattr(shared(owner).engine, "apply_notes", take_none)
            await other.create("events/a", body=b'{"n":1}')
            assert (await owner.ask("POST", "s/streams", {"streams": ["events/a"]}))[0] == 204
            assert stream_of(await at.wake(), "events/a")["acked_offset"] == "-1"


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xc1", id="not-messagepack"),
        pytest.param(b"\x90", id="an-array"),
        pytest.param(b"\x81\xa4type\xa7unknown", id="of-another-version"),
        pytest.param(b"\x82\xa1z" + b"\x91" * 100_000 + b"\xc0", id="nested-too-deeply"),
    ],
)
def test_a_message_of_another_program_in_a_mailbox_is_ignored(message: bytes) -> None:
    assert mail.decode(message) is None
