"""Before an HTTP origin, what is appended through the gateway wakes, and what is around it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from typing_extensions import override

from gateway.background import at_once
from gateway.errors import (
    HeadgateError,
    LogUnavailable,
    OriginBusy,
    OriginTimeout,
    OriginUnreachable,
    StartError,
)
from gateway.features.delivery.documents import MemoryDocuments
from gateway.features.questions.contract import AnswerFailure
from gateway.features.subscriptions import membership
from gateway.features.subscriptions.engine import RouteSubscriptions
from gateway.features.subscriptions.origins import origin_streams, tail_checks
from gateway.features.subscriptions.origins.origin_subscriptions import OriginSubscriptions
from gateway.features.subscriptions.origins.origin_view import StreamRequests
from gateway.features.subscriptions.subscription_handlers import subscriptions_of
from tests.subscriptions.origins import before, proxied
from tests.subscriptions.receivers import ends_of, receiver, shared, stream_of
from tests.subscriptions.test_access import OWN, PULL, tokens_file
from tests.subscriptions.test_access import ask as ask_as
from tests.subscriptions.test_replays import replay
from tests.subscriptions.test_restarts import FailingDocuments
from tests.support.http1 import ask
from tests.support.origin_servers import reference
from tests.support.serving import EDGE, PREFIX, edge_serving, request, serving
from tests.support.waiting import until
from tests.support.web_servers import web_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from gateway.features.subscriptions.streams import StreamView

DONE = {"done": True}


@pytest.fixture
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends of streams are checked often, and what contradicts what was known lasts soon."""
    monkeypatch.setattr(origin_streams, "PERSISTS_S", 0.05)
    monkeypatch.setattr(tail_checks, "PERIOD_S", 0.1)


async def test_a_creation_with_content_wakes_from_the_beginning_of_the_stream() -> None:
    async with proxied() as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, pattern="e/*")
        tail = (await gateway.create("e/a", body=b'{"n":1}')).next_offset
        wake = await at.wake()
        assert wake["streams"] == [
            {
                "path": "e/a",
                "link_type": "glob",
                "acked_offset": "-1",
                "tail_offset": tail,
                "has_pending": True,
            }
        ]
        assert wake["callback_url"].startswith(f"http://127.0.0.1:4437{gateway.prefix}/__ds/")
        await gateway.quiet()
        assert await gateway.cursors("s") == {"e/a": tail}


@pytest.mark.parametrize("body", [b"", b"[ ]"])
async def test_a_creation_without_content_wakes_nobody_and_an_append_does(body: bytes) -> None:
    async with proxied() as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, pattern="e/*")
        await gateway.create("e/a", body=body)
        assert await gateway.cursors("s") == {"e/a": "-1"}
        tail = (await gateway.append("e/a")).next_offset
        assert ends_of(await at.wake()) == [("e/a", tail)]
        await gateway.quiet()
        assert len(at.wakes) == 1


async def test_a_replay_to_a_time_is_refused_because_an_origin_tells_none() -> None:
    async with proxied() as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, pattern="e/*")
        await gateway.create("e/a", body=b'{"n":1}')
        await at.wake()
        await gateway.quiet()
        refused = await replay(gateway, since=5.0)
        assert isinstance(refused, AnswerFailure)
        assert refused.reason == (
            "an origin tells no times of its streams; replay from the beginning or an offset"
        )


async def test_a_close_without_data_wakes() -> None:
    async with proxied() as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, pattern="e/*")
        await gateway.create("e/a")
        await gateway.append("e/a", b"", "Stream-Closed: true")
        assert stream_of(await at.wake(), "e/a")["closed"] is True


async def test_a_stream_that_was_there_before_is_linked_at_its_tail_by_its_next_append() -> None:
    async with proxied() as gateway, receiver(answer=DONE) as at:
        old = (await gateway.around("PUT", "e/a", b'{"old":1}')).next_offset
        await gateway.webhook("s", at, pattern="e/*")
        await gateway.append("e/a")
        assert stream_of(await at.wake(), "e/a")["acked_offset"] == old


async def test_a_linked_stream_wakes_when_it_is_appended_to_around_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tail_checks, "PERIOD_S", 0.1)
    async with proxied() as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, streams=["a", "later"])
        for name in ("a", "later"):
            tail = (await gateway.around("PUT", name, b'{"n":1}')).next_offset
            await until(lambda end=(name, tail): any(end in ends_of(it) for it in at.wakes))  # type: ignore[misc]


async def test_the_links_of_many_are_stored_before_a_response_and_more_data_is_handled_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(membership, "MOST_AT_ONCE", 1)
    async with proxied() as gateway:
        for name in ("s", "t"):
            await gateway.pull(name, pattern="e/*")
        found = gateway.engine.membership
        late: list[str] = []
        monkeypatch.setattr(found.late, "add", late.append)
        await gateway.create("e/a")
        links = found.streams["e/a"].links
        assert ([link.stream_id is not None for link in links], late) == ([True, True], [])
        await gateway.append("e/a")
        assert late == ["e/a"]


async def test_a_read_through_the_gateway_shows_what_was_appended_around_it() -> None:
    async with proxied() as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, streams=["a"])
        await gateway.create("a")
        await gateway.around("POST", "a", b'{"n":1}')
        assert await gateway.read("a") == [{"n": 1}]
        assert stream_of(await at.wake(), "a")["has_pending"]


async def test_a_pull_wake_is_an_event_in_a_stream_of_the_origin_and_is_claimed_and_acked() -> None:
    async with proxied() as gateway:
        await gateway.pull("s", pattern="e/*")
        tail = (await gateway.create("e/a", body=b'{"n":1}')).next_offset

        async def events() -> list[dict[str, object]]:
            answer = await gateway.around("GET", "wakes")
            told: list[dict[str, object]] = json.loads(answer.body)
            return told

        async def is_announced() -> bool:
            return bool(await events())

        await until(is_announced)
        (event,) = await events()
        assert (event["type"], event["stream"], event["generation"]) == ("wake", "e/a", 1)
        status, claimed = await gateway.claim()
        assert (status, ends_of(claimed)) == (200, [("e/a", tail)])
        status, told = await gateway.ack(claimed, ("e/a", tail))
        assert (status, told) == (200, {"ok": True, "next_wake": False})
        assert await gateway.cursors("s") == {"e/a": tail}


async def test_a_wake_stream_that_is_created_later_gets_the_event_at_once() -> None:
    async with proxied() as gateway:
        members = {"type": "pull-wake", "pattern": "e/*", "wake_stream": "wakes"}
        assert (await gateway.put("s", **members))[0] == 201
        await gateway.create("e/a", body=b'{"n":1}')
        await gateway.quiet()
        assert "wake stream wakes" in (await gateway.ask("GET", "s"))[1]["last_error"]
        await gateway.create("wakes")
        await gateway.quiet()
        assert [it["stream"] for it in await gateway.read("wakes")] == ["e/a"]


async def test_an_ack_of_what_was_appended_around_the_gateway_counts() -> None:
    async with proxied() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="e/*")
        await gateway.create("e/a", body=b'{"n":1}')
        wake = await at.wake()
        tail = (await gateway.around("POST", "e/a", b'{"n":2}')).next_offset
        status, told = await gateway.callback(wake, ("e/a", tail))
        assert (status, told) == (200, {"ok": True, "next_wake": False})
        assert await gateway.cursors("s") == {"e/a": tail}


@pytest.mark.parametrize(
    "offset", ["-1", "now", "zzz", "a b", "", pytest.param("9" * 300, id="long")]
)
async def test_an_ack_backwards_or_beyond_the_tail_is_refused(offset: str) -> None:
    async with proxied() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="e/*")
        tail = (await gateway.create("e/a", body=b'{"n":1}')).next_offset
        wake = await at.wake()
        assert (await gateway.callback(wake, ("e/a", tail), done=False))[0] == 200
        status, told = await gateway.callback(wake, ("e/a", offset))
        assert (status, told["error"]["code"]) == (409, "INVALID_OFFSET")


async def test_a_stream_that_is_created_again_through_the_gateway_begins_a_new_cursor() -> None:
    async with proxied() as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, pattern="e/*")
        await gateway.create("e/a", body=b'{"n":1}')
        await at.wake()
        await gateway.quiet()
        await gateway.delete("e/a")
        await gateway.create("e/a", body=b'{"n":2}')
        again = stream_of(await at.wake(2), "e/a")
        assert (again["recreated"], again["acked_offset"]) == (True, "-1")


@pytest.mark.usefixtures("processes")
@pytest.mark.usefixtures("quick_checks")
async def test_a_stream_that_ends_earlier_than_known_is_another_one_once_that_lasts() -> None:
    with reference() as server:
        url = f"{server.url}{PREFIX}"
        async with before(url) as gateway, receiver(answer=DONE) as at:
            await gateway.webhook("s", at, streams=["a"])
            await gateway.create("a", body=b'[{"n":1},{"n":2}]')
            old = ends_of(await at.wake())[0][1]
            await gateway.quiet()
            path = f"{PREFIX}/a"
            assert ask(server.port, "DELETE", path).status == 204
            made = ask(server.port, "PUT", path, b"[1]", **{"Content-Type": "application/json"})
            assert made.next_offset < old
            again = stream_of(await at.wake(2), "a")
            assert (again["recreated"], again["acked_offset"]) == (True, "-1")


@pytest.mark.usefixtures("processes")
@pytest.mark.usefixtures("quick_checks")
async def test_a_stream_that_is_there_after_its_removal_is_another_one_once_that_lasts() -> None:
    with reference() as server:
        url = f"{server.url}{PREFIX}"
        async with before(url) as gateway, receiver(answer=DONE) as at:
            await gateway.webhook("s", at, pattern="*")
            await gateway.create("a", body=b"[1]")
            old = ends_of(await at.wake())[0][1]
            await gateway.quiet()
            assert await gateway.delete("a") == 204
            body = b'[{"n":1},{"n":2}]'
            headers = {"Content-Type": "application/json"}
            made = ask(server.port, "PUT", f"{PREFIX}/a", body, **headers)
            assert made.next_offset > old
            again = stream_of(await at.wake(2), "a")
            assert (again["recreated"], again["acked_offset"]) == (True, "-1")


@pytest.mark.usefixtures("quick_checks")
async def test_an_append_after_a_deletion_is_to_another_stream_whoever_created_that() -> None:
    async with proxied() as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, streams=["a"])
        await gateway.create("a", body=b"[1]")
        await at.wake()
        await gateway.quiet()
        assert await gateway.delete("a") == 204
        await gateway.around("PUT", "a", b"[1]")
        tail = (await gateway.append("a")).next_offset
        again = stream_of(await at.wake(2), "a")
        assert (again["recreated"], again["acked_offset"]) == (True, "-1")
        assert again["tail_offset"] == tail


async def test_a_check_that_sees_a_new_stream_before_its_creation_is_reported_wakes_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tail_checks, "PERIOD_S", 0.1)
    async with proxied() as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, streams=["a"])
        await gateway.create("a", body=b"[1]")
        await at.wake()
        await gateway.quiet()
        assert await gateway.delete("a") == 204
        await gateway.around("PUT", "a")
        await asyncio.sleep(0.4)  # for some checks
        await gateway.quiet()
        assert len(at.wakes) == 1


@pytest.mark.usefixtures("quick_checks")
async def test_a_stream_that_is_deleted_around_the_gateway_has_nothing_pending_any_more() -> None:
    async with proxied() as gateway, receiver(status=500) as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b"[1]")
        await at.wake()
        await gateway.around("DELETE", "a")
        await until(lambda: not gateway.engine.by_id["s"].links)
        gateway.pass_time(2.0)
        await gateway.quiet()
        assert len(at.wakes) == 1


async def test_without_the_setting_requests_for_subscriptions_are_passed_on() -> None:
    members = {"type": "pull-wake", "pattern": "*", "wake_stream": "w"}
    body = json.dumps(members).encode()
    async with serving() as server:
        url = f"http://127.0.0.1:{server.port}{PREFIX}"
        async with edge_serving(url) as gateway:
            made = await gateway.ask(request("PUT", f"{EDGE}/__ds/subscriptions/s", body=body))
            assert made.status == 201
        subscriptions = subscriptions_of(server.route)
        assert isinstance(subscriptions, RouteSubscriptions)
        assert list(subscriptions.by_id) == ["s"]


async def test_stored_cursors_count_and_appends_while_the_gateway_was_down_wake(
    tmp_path: Path,
) -> None:
    place = f"file:{tmp_path / 'subscriptions'}"
    async with serving() as server, receiver(answer=DONE) as at:
        async with before(server, place) as gateway:
            await gateway.webhook("s", at, pattern="e/*")
            await gateway.create("e/a", body=b'{"n":1}')
            await gateway.create("e/empty")
            await at.wake()
            await gateway.quiet()
            old = (await gateway.cursors("s"))["e/a"]
        async with before(server, place) as gateway:
            await gateway.quiet()
            assert len(at.wakes) == 1
        await gateway.around("POST", "e/a", b'{"n":2}')
        async with before(server, place) as gateway:
            wake = await at.wake(2)  # perhaps before the end of the other stream is known
            assert stream_of(wake, "e/a")["acked_offset"] == old
            await until(lambda: not gateway.engine.by_id["s"].unseen)
            assert "e/empty" not in gateway.engine.by_id["s"].pending


async def test_a_stream_that_is_checked_before_all_are_compared_counts_as_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_changes = OriginSubscriptions.find_changes

    async def after_a_check(engine: OriginSubscriptions) -> None:
        await until(lambda: engine.membership.state_of("e/a") is not None)
        await find_changes(engine)

    place = f"file:{tmp_path / 'subscriptions'}"
    async with serving() as server:
        async with before(server, place) as gateway:
            await gateway.pull("s", pattern="e/*")
            await gateway.create("e/a")
        monkeypatch.setattr(OriginSubscriptions, "find_changes", after_a_check)
        async with before(server, place) as gateway:
            await gateway.quiet()
            assert not gateway.engine.by_id["s"].unseen


async def test_the_link_of_the_pattern_stays_without_the_name_after_a_restart(
    tmp_path: Path,
) -> None:
    place = f"file:{tmp_path / 'subscriptions'}"
    async with serving() as server:
        async with before(server, place) as gateway:
            await gateway.pull("s", pattern="e/*", streams=["e/a"])
            await gateway.create("e/a")
            await gateway.append("e/a")
        async with before(server, place) as gateway:
            await gateway.quiet()
            assert (await gateway.ask("DELETE", "s/streams/e%2Fa"))[0] == 204
            assert await gateway.cursors("s") == {"e/a": "-1"}
        async with before(server, place) as gateway:
            status, claim = await gateway.claim()
            assert status == 200
            link = stream_of(claim, "e/a")
            assert (link["link_type"], link["has_pending"]) == ("glob", True)


@pytest.mark.usefixtures("quick_checks")
async def test_the_link_without_its_name_to_a_stream_that_is_not_there_is_dropped() -> None:
    async with proxied() as gateway:
        await gateway.pull("s", pattern="e/*", streams=["e/a"])
        assert (await gateway.ask("DELETE", "s/streams/e%2Fa"))[0] == 204
        await until(lambda: not gateway.engine.by_id["s"].links)
        tail = (await gateway.create("e/a", body=b'{"n":1}')).next_offset
        status, claim = await gateway.claim()
        assert status == 200
        assert stream_of(claim, "e/a")["tail_offset"] == tail
        assert stream_of(claim, "e/a")["acked_offset"] == "-1"


async def test_whoever_subscribes_before_an_origin_needs_the_same_rights(tmp_path: Path) -> None:
    tokens = tokens_file(tmp_path, prefix=EDGE)
    async with serving() as server, before(server, own=OWN, tokens_file=tokens) as gateway:
        for name, status in [(None, 401), ("reader", 403), ("one", 403), ("worker", 201)]:
            assert (await ask_as(gateway, name, "PUT", "s", PULL))[0] == status
        for name, status in [("other", 200), ("one", 403), (None, 401)]:
            assert (await ask_as(gateway, name, "GET", "s"))[0] == status
        assert (await ask_as(gateway, None, "POST", "s/claim", {"worker": "w"}))[0] == 401
        assert (await ask_as(gateway, "worker", "DELETE", "s"))[0] == 204


@pytest.mark.usefixtures("quick_checks")
async def test_a_link_to_a_stream_whose_creation_the_origin_refuses_is_dropped() -> None:
    async with proxied() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="**")
        assert (await gateway.append("nothing")).status == 404
        await until(lambda: not gateway.engine.by_id["s"].links)
        await gateway.engine.rows.flush()
        loaded = at_once(gateway.engine.rows.decode(await gateway.engine.rows.read()))
        assert loaded["s"].cursors == {}


@pytest.mark.parametrize("place", ["memory:", "redis"])
async def test_a_link_for_a_write_that_the_origin_forbids_is_dropped_before_its_turn_comes(
    place: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin_streams, "PERSISTS_S", 0.05)
    monkeypatch.setattr(tail_checks, "PERIOD_S", 600.0)
    url = "memory:" if place == "memory:" else redis_url

    async def answer(call: web.Request) -> web.Response:
        return web.Response(status=404 if call.method == "HEAD" else 403)

    async with web_server(answer) as origin, contextlib.AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(before(origin, url))]
        if place == "redis":
            gateways.append(await stack.enter_async_context(before(origin, url)))
        owner = gateways[0]
        at = await stack.enter_async_context(receiver())
        await owner.webhook("s", at, pattern="**")
        if place == "redis":
            await until(lambda: shared(owner).comparisons.made > 0)  # which would drop links, too
        for number, gateway in enumerate(gateways):
            for method in ("PUT", "POST"):
                assert (await gateway.through(method, f"{method}-{number}")).status == 403
        await until(lambda: not owner.engine.by_id["s"].links)


async def test_a_first_write_is_not_passed_on_while_its_link_cannot_be_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with proxied() as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, pattern="e/*")
        # The rows have their log from the beginning, and no log can be told to fail.
        monkeypatch.setattr(gateway.engine.rows, "_documents", FailingDocuments({}))
        assert (await gateway.create("e/a", body=b"[1]")).status == 503
        assert (await gateway.around("GET", "e/a")).status == 404
        tail = (await gateway.create("e/a", body=b"[1]")).next_offset
        assert ends_of(await at.wake()) == [("e/a", tail)]


class UnreachableDocuments(MemoryDocuments):
    """Documents that cannot be written."""

    @override
    async def write(self, changes: Mapping[str, bytes | None]) -> None:
        raise LogUnavailable("it cannot be reached")


async def test_no_write_is_passed_on_as_long_as_its_links_cannot_be_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with proxied() as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, pattern="e/*")
        with monkeypatch.context() as outage:
            # As above: no log can be told to fail.
            outage.setattr(gateway.engine.rows, "_documents", UnreachableDocuments({}))
            for _ in range(3):
                assert (await gateway.create("e/a", body=b"[1]")).status == 503
            assert (await gateway.around("GET", "e/a")).status == 404
        tail = (await gateway.create("e/a", body=b"[1]")).next_offset
        assert ends_of(await at.wake()) == [("e/a", tail)]


@pytest.mark.parametrize(
    ("error", "status"), [(OriginUnreachable, 502), (OriginTimeout, 504), (OriginBusy, 503)]
)
async def test_a_stream_whose_end_cannot_be_told_is_linked_at_its_tail_by_a_later_write(
    monkeypatch: pytest.MonkeyPatch, error: type[HeadgateError], status: int
) -> None:
    async def refuse(*_: object) -> None:
        raise error("it is away")

    async with proxied() as gateway, receiver(answer=DONE) as at:
        tail = (await gateway.around("PUT", "e/a", b"[1]")).next_offset
        await gateway.webhook("s", at, pattern="e/*")
        with monkeypatch.context() as outage:
            outage.setattr(StreamRequests, "end_of", refuse)
            assert (await gateway.append("e/a")).status == status
        await gateway.append("e/a")
        assert stream_of(await at.wake(), "e/a")["acked_offset"] == tail


async def test_a_data_folder_that_cannot_be_opened_ends_the_start_with_the_reason(
    tmp_path: Path,
) -> None:
    async with serving() as server, before(server, f"file:{tmp_path}"):
        with pytest.raises(StartError, match="subscriptions of /edge: "):
            async with before(server, f"file:{tmp_path}"):
                pass


async def test_a_stream_that_is_looked_at_while_others_are_linked_is_linked_at_its_tail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as server, receiver(answer={"done": True}) as at:
        async with before(server, f"file:{tmp_path}") as gateway:
            tail = (await gateway.around("PUT", "events/a", b'{"n":1}')).next_offset
            states = gateway.engine.streams.states

            async def states_behind_a_check(beginning: str) -> AsyncIterator[StreamView]:
                await asyncio.wait({gateway.checks.compare_all(["events/a"])})
                async for state in states(beginning):
                    yield state

            monkeypatch.setattr(gateway.engine.streams, "states", states_behind_a_check)
            await gateway.webhook("s", at, pattern="events/*")
            assert await gateway.cursors("s") == {"events/a": tail}
        async with before(server, f"file:{tmp_path}") as gateway:
            assert await gateway.cursors("s") == {"events/a": tail}
