"""An operator sets cursors back: events are sent again, under a new generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.features.questions.contract import AnswerFailure
from headgate_gateway.features.questions.subscriptions import ReplayResult, ReplaySubscription
from headgate_gateway.features.subscriptions.operators import answer_for
from headgate_gateway.logs.sqlite.log import SqliteLog
from tests.subscriptions.receivers import ends_of, receiver, stream_of, subscribed
from tests.subscriptions.test_pauses import pause
from tests.support.serving import PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from tests.subscriptions.receivers import Receiver, Subscribed

DONE = {"done": True}


async def replay(gateway: Subscribed, *streams: str, **start: Any) -> ReplayResult | AnswerFailure:
    """Replay the subscription `s`."""
    question = ReplaySubscription(PREFIX, "s", streams, **start)
    done = await answer_for(gateway.engine, question)
    assert isinstance(done, ReplayResult | AnswerFailure)
    return done


async def acknowledged(gateway: Subscribed, at: Receiver) -> dict[str, str]:
    """Have events of `a` and `b` acknowledged; return the cursors."""
    await gateway.webhook("s", at, pattern="*")
    for number, name in enumerate(("a", "b", "a"), 1):
        write = gateway.create if number < 3 else gateway.append
        await write(name, body=b'{"n":1}')
        await at.wake(number)
        await gateway.quiet()
    return await gateway.cursors("s")


async def test_a_replay_from_the_beginning_tells_all_streams_under_a_new_generation() -> None:
    async with subscribed() as gateway, receiver(answer=DONE) as at:
        before = await acknowledged(gateway, at)
        generation = at.wakes[-1]["generation"]
        done = await replay(gateway)
        assert isinstance(done, ReplayResult)
        assert done.streams == 2
        wake = await at.wake(4)
        assert wake["generation"] == done.generation > generation
        assert {it["path"]: it["acked_offset"] for it in wake["streams"]} == {"a": "-1", "b": "-1"}
        await gateway.quiet()
        assert await gateway.cursors("s") == before


async def test_a_replay_to_an_offset_moves_the_cursor_of_one_stream_only() -> None:
    async with subscribed() as gateway, receiver(answer=DONE) as at:
        before = await acknowledged(gateway, at)
        middle = stream_of(at.wakes[1], "a")["tail_offset"]  # behind the first of two messages
        assert await replay(gateway, "a", offset=middle) == ReplayResult(1, 5)
        wake = await at.wake(4)
        assert stream_of(wake, "a")["acked_offset"] == middle
        assert stream_of(wake, "b")["acked_offset"] == before["b"]


async def test_the_wake_before_a_replay_is_fenced() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        wake = await at.wake()
        await gateway.quiet()
        assert (await gateway.callback(wake, *ends_of(wake), done=False))[0] == 200
        await replay(gateway)
        status, refused = await gateway.callback(wake, *ends_of(wake))
        assert (status, refused["error"]["code"]) == (409, "FENCED")
        assert (await gateway.cursors("s"))["a"] == "-1"
        assert (await at.wake(2))["generation"] > wake["generation"]


async def test_a_replay_of_a_closed_stream_tells_its_close_again() -> None:
    async with subscribed() as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        await at.wake()
        await gateway.quiet()
        await gateway.append("a", b"", "Stream-Closed: true")
        await at.wake(2)
        await gateway.quiet()
        await replay(gateway)
        assert stream_of(await at.wake(3), "a")["closed"] is True


async def test_a_replay_lasts_over_a_restart_and_while_paused(tmp_path: Path) -> None:
    async with receiver(answer=DONE) as at:
        async with subscribed(SqliteLog(tmp_path / "log")) as gateway:
            await acknowledged(gateway, at)
            await pause(gateway)
            await replay(gateway, "b")
            await gateway.quiet()
            assert len(at.wakes) == 3
        async with subscribed(SqliteLog(tmp_path / "log")) as gateway:
            assert (await gateway.cursors("s"))["b"] == "-1"
            await pause(gateway, resumes=True)
            wake = await at.wake(4)
            assert stream_of(wake, "b")["has_pending"] is True
            assert stream_of(wake, "a")["has_pending"] is False


@pytest.mark.parametrize(
    ("streams", "start", "status", "reason"),
    [
        (["c"], {}, 409, "linked to no stream"),
        (["a"], {"offset": "nonsense"}, 409, "none of the stream a"),
        (["a"], {"offset": "0000000000000000_0000000000009999"}, 409, "beyond the tail"),
        (["a"], {"offset": "0000000000000007_0000000000000001"}, 409, "none of the stream"),
        (["a", "b"], {"offset": "now"}, 409, "none of the stream"),
        ([], {"offset": "0000000000000000_0000000000000001"}, 400, "name it"),
        (["/"], {}, 400, ""),
        ([str(it) for it in range(1001)], {}, 400, "1000 streams"),
    ],
    ids=[
        "unknown stream",
        "no offset",
        "beyond the tail",
        "another generation",
        "several streams",
        "no stream",
        "no name",
        "too many names",
    ],
)
async def test_a_replay_that_is_not_valid_is_refused_and_changes_nothing(
    streams: list[str], start: dict[str, Any], status: int, reason: str
) -> None:
    async with subscribed() as gateway, receiver(answer=DONE) as at:
        before = await acknowledged(gateway, at)
        if start.get("offset", "").endswith("9999"):  # in the generation of this log
            start = {"offset": before["a"][:17] + start["offset"][17:]}
        refused = await replay(gateway, *streams, **start)
        assert isinstance(refused, AnswerFailure)
        assert refused.status == status
        assert reason in refused.reason
        await gateway.quiet()
        assert await gateway.cursors("s") == before
        assert len(at.wakes) == 3


async def test_an_offset_ahead_of_the_cursor_is_refused_as_it_would_skip_events() -> None:
    async with subscribed() as gateway, receiver(status=500) as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        tail = stream_of(await at.wake(), "a")["tail_offset"]
        refused = await replay(gateway, "a", offset=tail)
        assert isinstance(refused, AnswerFailure)
        assert "beyond what is acknowledged" in refused.reason


async def test_an_offset_before_what_retention_has_removed_is_refused() -> None:
    async with subscribed(own={"retention_messages": 2}) as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        first = stream_of(await at.wake(), "a")["tail_offset"]
        for number in range(2, 9):
            await gateway.append("a")
            await at.wake(number)
            await gateway.quiet()
        refused = await replay(gateway, "a", offset=first)
        assert isinstance(refused, AnswerFailure)
        assert "before the first one" in refused.reason
        assert isinstance(await replay(gateway, "a"), ReplayResult)
        assert "trimmed" not in stream_of(await at.wake(9), "a")
