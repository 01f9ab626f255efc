"""Subscriptions that `headgate data copy` carries to another log go on there as after a restart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from headgate.errors import Unavailable

from gateway.errors import LogUnavailable
from gateway.features.delivery.documents import FileDocuments, documents_in
from gateway.features.delivery.keys import FILE
from gateway.features.subscriptions.copies import copying
from gateway.features.subscriptions.copies.cursors import make_cursors
from gateway.logs.sqlite.log import SqliteLog
from gateway.tools.copying import queue
from tests.logs.abilities import needed
from tests.subscriptions.copied import copied
from tests.subscriptions.origins import before
from tests.subscriptions.receivers import (
    Subscribed,
    ends_of,
    is_signed,
    log_at,
    receiver,
    shared,
    subscribed,
)
from tests.support.serving import PREFIX, get, post, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.features.delivery.documents import Documents
    from gateway.logs.contract import Log

DONE = {"done": True}


async def jwks(gateway: Subscribed) -> Any:
    """Return the public keys."""
    return json.loads((await gateway.gateway.ask(get(f"{PREFIX}/__ds/jwks.json"))).body)


async def claimed(gateway: Subscribed) -> dict[str, Any]:
    """Claim the wake of the pull-wake subscription."""
    status, found = await gateway.claim()
    assert status == 200, found
    return dict(found)


async def test_a_wake_in_flight_is_sent_again_by_the_target_with_the_same_key_and_old_tokens_fail(
    tmp_path: Path, redis_url: str
) -> None:
    async with receiver() as at:
        async with subscribed(SqliteLog(tmp_path / "a")) as source:
            await source.webhook("s", at, pattern="e/*")
            await source.create("e/1", body=b'{"n":1}')
            first = await at.wake()
            published = await jwks(source)
        assert await copied(f"file:{tmp_path / 'a'}", redis_url) == 0
        async with subscribed(log_at(redis_url)) as target:
            second = await at.wake(2)
            assert second["streams"] == first["streams"]
            assert second["generation"] == first["generation"] + 1
            assert await jwks(target) == published
            assert is_signed(*at.received[1], published)
            status, refusal = await target.callback(first, *ends_of(first))
            assert (status, refusal["error"]["code"]) == (409, "FENCED")
            assert (await target.callback(second, *ends_of(second)))[0] == 200
            await target.append("e/1")
            assert (await at.wake(3))["generation"] == 3
        assert await copied(redis_url, f"file:{tmp_path / 'b'}") == 0
        key_file = tmp_path / "b" / FILE
        assert key_file.stat().st_mode & 0o777 == 0o600
        async with subscribed(SqliteLog(tmp_path / "b")) as again:
            fourth = await at.wake(4)
            assert (fourth["generation"], fourth["streams"]) == (4, at.wakes[2]["streams"])
            assert await jwks(again) == published


async def test_what_is_acknowledged_is_told_no_more_and_what_comes_later_is(
    tmp_path: Path, redis_url: str
) -> None:
    async with subscribed(log_at(redis_url)) as source:
        await source.pull("s", pattern="e/*", streams=["named", "to-come"])
        await source.create("e/old", body=b'{"n":1}')
        await source.create("named", body=b'{"n":1}')
        for name in ("e/old", "named"):
            claim = await claimed(source)
            end = dict(ends_of(claim))[name]
            assert (await source.ack(claim, (name, end)))[0] == 200
        before = await source.cursors("s")
        description = (await source.ask("GET", "s"))[1]
    assert await copied(redis_url, f"file:{tmp_path / 'a'}") == 0
    async with subscribed(SqliteLog(tmp_path / "a")) as target:
        assert await target.cursors("s") == before
        after = (await target.ask("GET", "s"))[1]
        del after["streams"], description["streams"]
        assert after == description
        assert (await target.claim())[0] == 409
        end = (await target.create("to-come", body=b'{"n":1}')).next_offset
        claim = await claimed(target)
        pending = [it["path"] for it in claim["streams"] if it["has_pending"]]
        assert (pending, claim["generation"]) == (["to-come"], 3)
        assert (await target.ack(claim, ("to-come", end)))[0] == 200


async def test_a_fork_that_was_not_acknowledged_begins_at_its_fork_point_in_the_copy(
    tmp_path: Path,
) -> None:
    async with subscribed(SqliteLog(tmp_path / "a")) as source:
        point = (await source.create("base", body=b'{"n":1}')).next_offset
        await source.pull("s", pattern="e/*")
        lines = f"Stream-Forked-From: {PREFIX}/base", f"Stream-Fork-Offset: {point}"
        await source.create("e/fork", *lines, body=b'{"n":2}')
    assert await copied(f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}") == 0
    async with subscribed(SqliteLog(tmp_path / "b")) as target:
        assert await target.cursors("s") == {"e/fork": point}
        (stream,) = (await claimed(target))["streams"]
        assert stream["has_pending"]


async def test_streams_that_only_the_target_has_are_linked_at_their_tails(tmp_path: Path) -> None:
    async with subscribed(SqliteLog(tmp_path / "b")) as target:
        end = (await target.create("e/its-own", body=b'{"n":1}')).next_offset
    async with subscribed(SqliteLog(tmp_path / "a")) as source:
        await source.pull("s", pattern="e/*")
        await source.create("e/ours", body=b'{"n":1}')
    assert await copied(f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}") == 0
    async with subscribed(SqliteLog(tmp_path / "b")) as target:
        assert await target.cursors("s") == {"e/its-own": end, "e/ours": "-1"}


@pytest.mark.parametrize("remembered", [queue.MAX_KNOWN, 0])
async def test_in_a_stream_that_was_refused_the_cursor_is_where_both_still_have_the_same_content(
    remembered: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "MAX_KNOWN", remembered)
    ends: dict[str, list[str]] = {}
    for folder, second in (("a", b'{"n":2}'), ("b", b'{"n":3}')):
        async with subscribed(SqliteLog(tmp_path / folder)) as gateway:
            if folder == "a":
                await gateway.pull("s", pattern="e/*")
            await gateway.create("e/1")
            appended = [await gateway.append("e/1", body) for body in (b'{"n":1}', second)]
            ends[folder] = [it.next_offset for it in appended]
            if folder == "a":
                claim = await claimed(gateway)
                assert (await gateway.ack(claim, ("e/1", ends["a"][1])))[0] == 200
    assert await copied(f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}") == 1
    async with subscribed(SqliteLog(tmp_path / "b")) as target:
        assert await target.cursors("s") == {"e/1": ends["b"][0]}


async def test_a_second_copy_brings_what_has_happened_at_the_source_also_a_replay(
    tmp_path: Path, redis_url: str
) -> None:
    file = f"file:{tmp_path / 'a'}"
    async with subscribed(log_at(redis_url)) as source, receiver() as at:
        await source.webhook("s", at, pattern="e/*", streams=["dropped"])
        await source.create("e/1", body=b'{"n":1}')
        wake = await at.wake()
        assert (await source.callback(wake, *ends_of(wake)))[0] == 200
        assert await copied(redis_url, file) == 0
        assert await copied(redis_url, file) == 0
        await source.ask("DELETE", "s/streams/dropped")
        await source.append("e/1")
        wake = await at.wake(2)
        assert (await source.callback(wake, *ends_of(wake)))[0] == 200
        cursors = await source.cursors("s")
        assert await copied(redis_url, file) == 0
        async with subscribed(SqliteLog(tmp_path / "a")) as target:
            assert await target.cursors("s") == cursors
            await target.quiet()
        assert len(at.wakes) == 2


async def test_a_subscription_that_has_gone_on_at_the_target_is_left_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, target = f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}"
    async with receiver(answer=DONE) as at:
        async with subscribed(SqliteLog(tmp_path / "a")) as gateway:
            await gateway.webhook("s", at, pattern="e/*")
            await gateway.create("e/1")
        await copied(source, target)
        async with subscribed(SqliteLog(tmp_path / "b")) as gateway:
            await gateway.append("e/1")
            await at.wake()
            await gateway.quiet()
            cursors = await gateway.cursors("s")
        assert await copied(source, target) == 1  # the stream has more than the source
        async with subscribed(SqliteLog(tmp_path / "b")) as gateway:
            assert await gateway.cursors("s") == cursors
            await gateway.quiet()
            assert len(at.wakes) == 1
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["subscriptions_changed"] == 0


async def test_another_subscription_with_the_same_id_is_refused_and_left(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for folder, pattern in (("a", "e/*"), ("b", "f/*")):
        async with subscribed(SqliteLog(tmp_path / folder)) as gateway:
            await gateway.pull("s", pattern=pattern)
    assert await copied(f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}") == 1
    assert "subscription s: there is another subscription with this id" in capfd.readouterr().err
    async with subscribed(SqliteLog(tmp_path / "b")) as gateway:
        assert (await gateway.ask("GET", "s"))[1]["pattern"] == "f/*"


@pytest.mark.parametrize(
    "options", [{"prefix": "e/"}, {"subscriptions": False}], ids=["some-streams", "streams-only"]
)
async def test_a_copy_of_some_streams_or_of_streams_only_leaves_subscriptions_behind(
    options: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with subscribed(SqliteLog(tmp_path / "a")) as gateway:
        await gateway.pull("s", pattern="e/*")
    assert await copied(f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}", **options) == 0
    result = json.loads(capfd.readouterr().out)
    assert (result["subscriptions"], result["subscriptions_changed"]) == (1, None)
    async with subscribed(SqliteLog(tmp_path / "b")) as gateway:
        assert (await gateway.ask("GET", "s"))[0] == 404


async def test_gateways_that_serve_the_target_deliver_what_is_copied_there(
    tmp_path: Path, redis_url: str
) -> None:
    async with receiver(answer=DONE) as at, subscribed(log_at(redis_url)) as target:
        await target.webhook("own", at, pattern="own/*")
        async with subscribed(SqliteLog(tmp_path / "a")) as source:
            await source.webhook("s", at, pattern="e/*")
            await source.subscriptions.close()  # so that its wake stays pending
            await source.create("e/1", body=b'{"n":1}')
        before = await jwks(target)
        assert await copied(f"file:{tmp_path / 'a'}", redis_url) == 0
        await until(lambda: shared(target).engine is not None and "s" in target.engine.by_id)
        wake = await at.wake()
        assert wake["subscription_id"] == "s"
        assert is_signed(*at.received[0], before)  # the keys that were there sign
        await target.create("own/1", body=b'{"n":1}')
        assert (await at.wake(2))["subscription_id"] == "own"


async def test_subscriptions_to_an_http_origin_go_on_from_a_copy_of_the_log_that_stores_them(
    tmp_path: Path, redis_url: str
) -> None:
    file = f"file:{tmp_path / 'a'}"
    async with serving() as origin, receiver() as at:
        async with before(origin, file) as source:
            await source.webhook("s", at, pattern="e/*")
            await source.create("e/1", body=b'{"n":1}')
            wake = await at.wake()
            assert (await source.callback(wake, *ends_of(wake)))[0] == 200
            await source.create("e/2")
            cursors = await source.cursors("s")
        await origin.ask(
            post(f"{PREFIX}/e/2", b'{"n":2}', content_type="application/json")
        )  # while no gateway is there
        for _ in range(2):
            assert await copied(file, redis_url) == 0
        async with before(origin, redis_url) as target:
            second = await at.wake(2)
            pending = [it["path"] for it in second["streams"] if it["has_pending"]]
            assert (pending, second["generation"]) == (["e/2"], 2)
            assert await target.cursors("s") == cursors


async def test_a_copy_that_was_cut_short_leaves_whole_subscriptions_and_the_next_one_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "AT_ONCE", 1)
    source = f"file:{tmp_path / 'a'}"
    async with subscribed(SqliteLog(tmp_path / "a")) as gateway:
        await gateway.pull("s", streams=["e/1", "e/2"])
        await gateway.pull("t", pattern="f/*", streams=["g"], wake_stream="wakes")
        for name in ("e/1", "f/1"):
            await gateway.create(name, body=b'{"n":1}')
        expected = {name: await gateway.cursors(name) for name in ("s", "t")}
    write, left = FileDocuments.write, 0

    async def write_some(self: FileDocuments, changes: Mapping[str, bytes | None]) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise LogUnavailable("the disk is full")
        await write(self, changes)

    for writes in range(7):
        folder = tmp_path / f"b{writes}"
        left = writes
        monkeypatch.setattr(FileDocuments, "write", write_some)
        with pytest.raises(Unavailable, match="not all subscriptions"):
            await copied(source, f"file:{folder}")
        monkeypatch.undo()
        monkeypatch.setattr(copying, "AT_ONCE", 1)
        async with subscribed(SqliteLog(folder)) as gateway:
            found = {name: await gateway.cursors(name) for name in gateway.engine.by_id}
            assert found == {name: expected[name] for name in found}
        assert await copied(source, f"file:{folder}") == 0
        async with subscribed(SqliteLog(folder)) as gateway:
            found = {name: await gateway.cursors(name) for name in gateway.engine.by_id}
            assert found == expected


async def test_a_subscription_whose_rows_cannot_be_read_is_named_and_the_others_are_copied(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = SqliteLog(tmp_path / "a")
    async with subscribed(log) as gateway:
        for name in ("s", "t"):
            await gateway.pull(name, pattern="e/*", wake_stream=f"wakes-{name}")
        await gateway.subscriptions.close()
        await FileDocuments(log).write({"subscription/s": b"{"})
    assert await copied(f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}") == 1
    assert "subscription s: its rows cannot be read" in capfd.readouterr().err
    async with subscribed(SqliteLog(tmp_path / "b")) as gateway:
        assert [*gateway.engine.by_id] == ["t"]


@pytest.mark.parametrize("races", [2, 3])
async def test_a_copy_begins_again_while_a_gateway_changes_the_target_and_gives_up_at_last(
    races: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "MAX_LOST_RACES", 3)
    async with subscribed(SqliteLog(tmp_path / "a")) as gateway:
        await gateway.pull("s", pattern="e/*")
    found: list[Documents] = []
    tries = 0

    def noted(log: Log) -> Documents:
        found.append(needed(documents_in(log)))
        return found[-1]

    async def overtaken(*given: Any) -> None:
        """Make cursors while another writer comes in: between reading and writing the target."""
        nonlocal tries
        await make_cursors(*given)
        if tries < races:
            tries += 1
            await found[-1].write({"subscription/other": b"%d" % tries})

    monkeypatch.setattr(copying, "documents_in", noted)
    monkeypatch.setattr(copying, "make_cursors", overtaken)
    source, target = f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}"
    if races == 2:
        assert await copied(source, target) == 0
    else:
        with pytest.raises(Unavailable, match="the subscriptions of TO are changed all the time"):
            await copied(source, target)
