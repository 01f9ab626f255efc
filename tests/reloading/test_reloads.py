"""Reloads of one process: what changes, what stays, and what is refused."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.edge.route import EdgeRoute
from headgate_gateway.process import reconfiguration
from headgate_gateway.process.gateway import Gateway
from headgate_gateway.process.reconfiguration import collect_frozen
from headgate_gateway.settings import load
from tests.reloading.reloadable import STREAMS, TEXT, Reloadable, reloadable, token_entry
from tests.support.examples import cases
from tests.support.http1 import Client, request
from tests.support.live_origin import LiveOrigin
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.event_stream import Event

OTHER: dict[str, object] = {"prefix": "/other", "storage": "memory:"}


def data(events: list[Event]) -> str:
    """The data of the events so far."""
    return "".join(event.data for event in events if event.name == "data")


# ---------------------------------------------------------------- routes and readers


async def test_a_reader_of_an_unchanged_route_stays_connected_while_routes_come_and_go(
    tmp_path: Path,
) -> None:
    async with reloadable(tmp_path) as at:
        assert (await at.ask("PUT", "/v1/stream/s", b"one", **TEXT)).status == 201
        reader = await at.follow("/v1/stream/s")
        await reader.events_until(lambda it: data(it) == "one")
        assert (await at.ask("PUT", "/other/s", b"x")).status == 404
        assert await at.reload(STREAMS, OTHER) == ()
        assert (await at.ask("PUT", "/other/s", b"x")).status == 201
        assert await at.reload(STREAMS) == ()
        assert (await at.ask("GET", "/other/s")).status == 404
        assert (await at.ask("POST", "/v1/stream/s", b"two", **TEXT)).status == 204
        await reader.events_until(lambda it: data(it) == "onetwo")


async def test_retention_that_a_reload_gives_to_a_route_counts_for_its_next_appends(
    tmp_path: Path,
) -> None:
    async with reloadable(tmp_path) as at:
        await at.ask("PUT", "/v1/stream/s", b"", **TEXT)
        assert await at.reload({**STREAMS, "retention_messages": 8}) == ()
        for number in range(40):
            await at.ask("POST", "/v1/stream/s", b"%02d " % number, **TEXT)
        first = (await at.ask("GET", "/v1/stream/s")).body[:2]
        assert b"25" <= first <= b"32"


async def test_a_live_reader_of_a_removed_route_ends_at_an_event_and_keeps_its_connection(
    tmp_path: Path,
) -> None:
    async with reloadable(tmp_path, STREAMS, OTHER) as at:
        await at.ask("PUT", "/other/s", b"one", **TEXT)
        reader = await at.follow("/other/s")
        await reader.events_until(lambda it: data(it) == "one")
        assert await at.reload(STREAMS) == ()
        events = await reader.events_to_the_end()
        assert data(events) == "one"
        assert events[-1].name == "control"
        await until(lambda: not at.gateway._retiring)


async def test_a_long_poll_of_a_removed_route_is_answered_at_once(tmp_path: Path) -> None:
    async with reloadable(tmp_path, STREAMS, OTHER, long_poll_timeout=60) as at:
        created = await at.ask("PUT", "/other/s", b"one", **TEXT)
        client = await at.follow("/other/s", "long-poll", created.next_offset)
        services = at.gateway._services
        await until(lambda: services.limits.live_readers == 1)
        assert await at.reload(STREAMS) == ()
        assert (await client.answer()).status == 204


async def test_a_route_moved_to_another_log_serves_that_log_from_the_next_request_on(
    tmp_path: Path,
) -> None:
    here = {"prefix": "/v1/stream", "storage": f"file:{tmp_path / 'a'}"}
    there = {"prefix": "/v1/stream", "storage": f"file:{tmp_path / 'b'}"}
    async with reloadable(tmp_path, here) as at:
        await at.ask("PUT", "/v1/stream/s", b"one", **TEXT)
        assert await at.reload(there) == ()
        assert (await at.ask("GET", "/v1/stream/s")).status == 404
        await until(lambda: not at.gateway._retiring)
        assert await at.reload(here) == ()
        assert (await at.ask("GET", "/v1/stream/s?offset=-1")).body == b"one"


# ---------------------------------------------------------------- values


async def test_a_new_route_below_another_one_has_no_cached_responses_of_that(
    tmp_path: Path,
) -> None:
    async with reloadable(tmp_path) as at:
        path = "/v1/stream/x/s"
        await at.ask("PUT", path, b"old", **TEXT)
        assert [(await at.ask("GET", path)).body for _ in range(2)] == [b"old"] * 2
        below = {"prefix": "/v1/stream/x", "storage": "memory:"}
        assert await at.reload(STREAMS, below) == ()
        assert (await at.ask("GET", path)).status == 404
        await at.ask("PUT", path, b"new", **TEXT)
        assert (await at.ask("GET", path)).body == b"new"


@pytest.mark.parametrize("moves", [True, False], ids=["moved", "removed"])
async def test_cached_responses_of_a_route_are_gone_although_a_request_to_it_is_under_way(
    tmp_path: Path, *, moves: bool
) -> None:
    below: dict[str, object] = {"prefix": "/v1/stream/x", "storage": "memory:"}
    async with reloadable(tmp_path, STREAMS, below) as at:
        path = "/v1/stream/x/s"
        await at.ask("PUT", path, b"old", **TEXT)
        assert [(await at.ask("GET", path)).body for _ in range(2)] == [b"old"] * 2
        slow = await Client.connect(at.port)
        at.clients.append(slow)
        slow.send(request("PUT", "/v1/stream/x/slow", b"whole", **TEXT)[:-1])
        server = at.gateway._connections
        assert server is not None
        await until(lambda: any(it.requests.request is not None for it in server.connections))
        moved = {**below, "storage": f"file:{tmp_path / 'log'}"}
        assert await at.reload(STREAMS, *([moved] if moves else [])) == ()
        assert (await at.ask("GET", path)).status == 404


async def test_a_changed_lifetime_is_in_the_next_response_and_other_routes_stay_cached(
    tmp_path: Path,
) -> None:
    async with reloadable(tmp_path, STREAMS, OTHER) as at:
        for prefix in ("/v1/stream", "/other"):
            await at.ask("PUT", f"{prefix}/s", b"one", **TEXT)
            await at.ask("GET", f"{prefix}/s?offset=-1")
        assert await at.reload({**STREAMS, "tail_max_age": 7}, OTHER) == ()
        changed = await at.ask("GET", "/v1/stream/s?offset=-1")
        assert (
            changed.get("Cache-Control") or ""
        ) == "no-cache, s-maxage=7, stale-while-revalidate=0"
        assert (changed.get("X-Cache") or "").startswith("MISS")
        kept = await at.ask("GET", "/other/s?offset=-1")
        assert (kept.get("X-Cache") or "").startswith("HIT")


async def test_a_lower_limit_of_live_readers_refuses_new_ones_and_keeps_those_there_are(
    tmp_path: Path,
) -> None:
    async with reloadable(tmp_path) as at:
        await at.ask("PUT", "/v1/stream/s", b"one", **TEXT)
        readers = [await at.follow("/v1/stream/s") for _ in range(2)]
        assert await at.reload(STREAMS, max_live_readers=1) == ()
        assert (await at.ask("GET", "/v1/stream/s?offset=-1&live=sse")).status == 503
        await at.ask("POST", "/v1/stream/s", b"two", **TEXT)
        for reader in readers:
            await reader.events_until(lambda it: data(it) == "onetwo")


async def test_a_shorter_body_limit_holds_for_the_next_append(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as at:
        await at.ask("PUT", "/v1/stream/s", None, **TEXT)
        assert await at.reload(STREAMS, max_append=4) == ()
        assert (await at.ask("POST", "/v1/stream/s", b"12345", **TEXT)).status == 413


async def test_runs_are_told_of_from_the_reload_on_that_says_so(tmp_path: Path) -> None:
    async def are_told_of(at: Reloadable) -> bool:
        client = await Client.connect(at.admin_port)
        at.clients.append(client)
        body = (await client.ask(request("GET", "/metrics"))).body
        return b'headgate_runs_known{route="/v1/stream"}' in body

    async with reloadable(tmp_path) as at:
        assert not await are_told_of(at)
        assert await at.reload({**STREAMS, "runs": True}) == ()
        assert await are_told_of(at)
        assert await at.reload(STREAMS) == ()
        assert not await are_told_of(at)


async def test_hosts_and_web_origins_hold_from_the_next_request_on(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as at:
        await at.ask("PUT", "/v1/stream/s", None, **TEXT)
        page = {"Origin": "https://app.example"}
        assert await at.reload(STREAMS, http_hosts=["streams.example"], cors_origins=[]) == ()
        assert (await at.ask("GET", "/v1/stream/s", Host="evil.example")).status == 421
        answer = await at.ask("GET", "/v1/stream/s", None, **page)
        assert answer.get("Access-Control-Allow-Origin") is None


async def test_a_smaller_cache_holds_no_more_than_its_new_size(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as at:
        for number in range(20):
            await at.ask("PUT", f"/v1/stream/{number}", b"x" * 10_000, **TEXT)
            await at.ask("GET", f"/v1/stream/{number}?offset=-1")
        store = at.gateway._services.store
        assert store.bytes > 100_000
        assert await at.reload(STREAMS, cache_size=50_000) == ()
        assert store.bytes <= 50_000


@pytest.mark.parametrize("log", ["memory:", "file:"])
async def test_a_quota_holds_behind_the_next_commit(tmp_path: Path, log: str) -> None:
    origin = "memory:" if log == "memory:" else f"file:{tmp_path / 'log'}"
    route = {"prefix": "/v1/stream", "storage": origin}
    async with reloadable(tmp_path, route) as at:
        await at.ask("PUT", "/v1/stream/s", b"x" * 100_000, **TEXT)
        assert await at.reload({**route, "max_storage_size": 50_000}) == ()
        statuses = [(await at.ask("POST", "/v1/stream/s", b"x", **TEXT)).status for _ in range(3)]
        assert statuses[-1] == 507
        assert await at.reload({**route, "max_storage_size": 0}) == ()
        assert (await at.ask("POST", "/v1/stream/s", b"x", **TEXT)).status == 204


# ---------------------------------------------------------------- credentials


async def test_a_reader_ends_whose_token_the_new_file_lacks_and_the_other_one_stays(
    tmp_path: Path,
) -> None:
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text(token_entry("ann") + token_entry("ben"))
    new.write_text(token_entry("ben"))
    ann, ben = ({"Authorization": f"Bearer {name}"} for name in ("ann", "ben"))
    async with reloadable(tmp_path, auth=["tokens"], tokens_file=str(old)) as at:
        await at.ask("PUT", "/v1/stream/s", b"one", **TEXT, **ben)
        leaves = await at.follow("/v1/stream/s", **ann)
        stays = await at.follow("/v1/stream/s", **ben)
        assert await at.reload(STREAMS, auth=["tokens"], tokens_file=str(new)) == ()
        assert data(await leaves.events_to_the_end()) == "one"
        assert (await at.ask("GET", "/v1/stream/s", None, **ann)).status == 401
        await at.ask("POST", "/v1/stream/s", b"two", **TEXT, **ben)
        await stays.events_until(lambda it: data(it) == "onetwo")


async def test_readers_of_a_route_that_gets_a_guard_end_and_are_judged_anew(
    tmp_path: Path,
) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(token_entry("ann"))
    async with reloadable(tmp_path) as at:
        await at.ask("PUT", "/v1/stream/s", b"one", **TEXT)
        reader = await at.follow("/v1/stream/s")
        assert await at.reload(STREAMS, auth=["tokens"], tokens_file=str(tokens)) == ()
        assert data(await reader.events_to_the_end()) == "one"
        assert (await at.ask("GET", "/v1/stream/s?offset=-1&live=sse")).status == 401
        with_token = await at.follow("/v1/stream/s", Authorization="Bearer ann")
        await with_token.events_until(lambda it: data(it) == "one")


# ---------------------------------------------------------------- origins over HTTP


async def test_a_reader_of_an_origin_stays_while_its_route_gets_other_lifetimes(
    tmp_path: Path,
) -> None:
    async with LiveOrigin(b"one") as origin:
        route = {"prefix": "/v1/stream", "origin": f"http://127.0.0.1:{origin.port}"}
        async with reloadable(tmp_path, route) as at:
            reader = await at.follow("/v1/stream/s")
            await reader.events_until(lambda it: data(it) == "one")
            assert await at.reload({**route, "tail_max_age": 7, "stale_if_error": 1}) == ()
            origin.append(b"two")
            await reader.events_until(lambda it: data(it) == "onetwo")
            answer = await at.ask("GET", "/v1/stream/s?offset=-1")
            assert "s-maxage=7" in (answer.get("Cache-Control") or "")


async def test_a_lower_bound_of_requests_to_an_origin_holds_from_the_next_request_on(
    tmp_path: Path,
) -> None:
    async with LiveOrigin(b"one") as origin:
        route = {"prefix": "/v1/stream", "origin": f"http://127.0.0.1:{origin.port}"}
        async with reloadable(tmp_path, route) as at:
            assert await at.reload({**route, "max_origin_requests": 3}) == ()
            edge = at.gateway._configuration.routes[0]
            assert isinstance(edge, EdgeRoute)
            assert edge.origin.requests.most == 3


# ---------------------------------------------------------------- refusals


async def test_a_reload_amid_the_start_is_refused_with_a_sentence(tmp_path: Path) -> None:
    at = Reloadable(tmp_path)
    at.write(STREAMS)
    gateway = Gateway(load(at.file, {}, {}), reread=lambda: load(at.file, {}, {}))
    assert await gateway.reloader.reload() == (
        "the server is still starting: reload it once it is ready.",
    )


REFUSED: dict[str, tuple[dict[str, object], dict[str, object], str]] = {
    "a setting that needs a restart": ({}, {"workers": 1, "log_format": "json"}, "until a restart"),
    "a mistake": ({}, {"max_append": "lots"}, "max_append is"),
    "an unknown setting of a route": ({"chunk_age": 1}, {}, "is not a setting"),
    "a file of tokens that is missing": ({}, {"tokens_file": "/nowhere"}, "/nowhere"),
    "a log that cannot be opened": ({"storage": "file:/proc/nowhere"}, {}, "/proc/nowhere"),
}


@pytest.mark.parametrize(("route", "settings", "words"), REFUSED.values(), ids=REFUSED)
async def test_a_refused_reload_changes_nothing(
    tmp_path: Path, route: dict[str, object], settings: dict[str, object], words: str
) -> None:
    async with reloadable(tmp_path, STREAMS, OTHER) as at:
        await at.ask("PUT", "/other/s", b"one", **TEXT)
        before = at.gateway._configuration
        problems = await at.reload({**STREAMS, **route}, max_live_readers=1, **settings)
        assert words in " ".join(problems)
        assert at.gateway._configuration is before
        assert (await at.ask("GET", "/other/s?offset=-1")).body == b"one"
        assert at.gateway.reloader.counts == {"done": 0, "refused": 1}


async def test_a_folder_under_another_prefix_is_refused_as_open_in_this_server(
    tmp_path: Path,
) -> None:
    first, second = (f"file:{tmp_path / name}" for name in ("a", "b"))
    routes = {"prefix": "/a", "storage": first}, {"prefix": "/b", "storage": second}
    async with reloadable(tmp_path, *routes) as at:
        await at.ask("PUT", "/a/s", b"one", **TEXT)
        renamed = {"prefix": "/c", "storage": first}
        swapped = {"prefix": "/a", "storage": second}, {"prefix": "/b", "storage": first}
        assert await at.reload(renamed, routes[1]) == (
            f"/c cannot have the log {first} by a reload: "
            "/a of this server has it open until a restart.",
        )
        assert await at.reload(*swapped) == (
            f"/a cannot have the log {second} by a reload: "
            "/b of this server has it open until a restart.",
        )
        assert (await at.ask("GET", "/a/s?offset=-1")).body == b"one"


async def test_a_file_that_is_half_written_is_read_once_it_is_whole(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as at:
        at.write(STREAMS, OTHER)
        whole = at.file.read_text()
        at.file.write_text(whole[: whole.index("[[routes]]", whole.index("[[routes]]") + 1)])
        reload = asyncio.create_task(at.gateway.reloader.reload())
        await asyncio.sleep(0.05)
        at.file.write_text(whole)
        assert await reload == ()
        assert (await at.ask("PUT", "/other/s", b"x")).status == 201


async def test_reloads_amid_a_reload_end_with_the_last_file_in_force(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as at:
        reloads = [asyncio.create_task(at.gateway.reloader.reload()) for _ in range(5)]
        at.write(STREAMS, OTHER)
        assert await asyncio.gather(*reloads) == [()] * 5
        assert (await at.ask("PUT", "/other/s", b"x")).status == 201


# ---------------------------------------------------------------- what is left of a configuration


@pytest.mark.parametrize("reloads", cases([5, 200], {5}, "five reloads"))
async def test_nothing_of_a_replaced_configuration_stays_in_memory(
    tmp_path: Path, reloads: int
) -> None:
    async with reloadable(tmp_path) as at:
        left: list[weakref.ref[object]] = []
        for number in range(reloads):
            assert await at.reload(STREAMS, {**OTHER, "chunk_max_age": number}) == ()
            route = at.gateway._configuration.routes[1]
            left += [weakref.ref(at.gateway._configuration), weakref.ref(route)]
            await at.ask("PUT", f"/other/{number}", b"x", **TEXT)
            assert await at.reload(STREAMS) == ()
            await until(lambda: not at.gateway._retiring)
            del route
        gc.collect()
        assert [it() for it in left if it() is not None] == []


async def test_a_removed_route_leaves_the_memory_although_the_start_was_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reloadable(tmp_path, STREAMS, OTHER) as at:
        monkeypatch.setattr(reconfiguration, "collect_frozen", collect_frozen)
        route = weakref.ref(at.gateway._configuration.routes[1])
        gc.freeze()  # as it stays: what the tests have frozen would slow all that come
        assert await at.reload(STREAMS) == ()
        await until(lambda: route() is None)
        assert gc.get_freeze_count()
