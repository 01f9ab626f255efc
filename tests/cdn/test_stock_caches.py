"""What caches without Headgate's file keep of a tail and a 204, by the spelling of both.

`tail_directive` of a route is that spelling: some caches take no-cache for "never".
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from tests.cdn.edges import Edge
from tests.cdn.findings import Fault
from tests.cdn.live_cases import polls_without_news
from tests.cdn.origin import PERSONAL, HeadgateOrigin, telling_who
from tests.cdn.patients import LOCKED, Patient, before
from tests.clients.pages import chromium, site
from tests.support.examples import cases
from tests.support.http1 import Wire, ask
from tests.support.proxy_engines import Nginx, Varnish, Workerd

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_CACHE, MAX_AGE = "/v1/no-cache", "/v1/max-age"
SECOND = "s-maxage=1, stale-while-revalidate=0"
SPELLED = {NO_CACHE: f"no-cache, {SECOND}", MAX_AGE: f"max-age=0, {SECOND}"}
ENDED = {NO_CACHE: f"no-store, {SECOND}", MAX_AGE: SPELLED[MAX_AGE]}
POLL_S = 0.3
FEW = 12
TEXT = {"Content_Type": "text/plain"}
STOCK = {
    "nginx": (Patient("stock-nginx.conf", Nginx(), frozenset()), "MISS", "HIT", "MISS", "HIT"),
    "varnish": (Patient("stock-varnish.vcl", Varnish(), frozenset()), "HIT", "HIT", "HIT", "HIT"),
    # Its Cache API keeps no 204, whatever that says.
    "workerd": (Patient("stock-worker.js", Workerd(), frozenset()), "MISS", "HIT", "MISS", "MISS"),
}
"""With the result of the second request: of the tail by each spelling, and of the 204."""
TRIED = cases(STOCK, {"nginx"}, "nginx, and the files for the others in tests of their own")
TWICE = """async (url) => {
  const statuses = []
  for (const _ of [1, 2]) statuses.push((await fetch(url)).status)
  return statuses
}"""


@pytest.fixture(scope="module")
def origin(processes: None) -> Iterator[HeadgateOrigin]:
    routes = [
        {"prefix": NO_CACHE, "storage": "memory:"},
        {"prefix": MAX_AGE, "storage": "memory:", "tail_directive": "max-age=0"},
    ]
    with telling_who() as readers_port:
        started = HeadgateOrigin(readers_port, POLL_S, (), ("*",), private=routes)
        with contextlib.closing(started):
            started.start()
            yield started


# What is done to a stream of b"news" and how the URL with this query is answered a second later:
# by its status and body.
TAIL, BEGINNING = "?offset={tail}", "?offset=-1"
CHANGES: dict[str, tuple[str, tuple[str, ...], int, bytes | None]] = {
    "append, at the tail": (TAIL, ("POST",), 200, b"more"),
    "append, from the beginning": (BEGINNING, ("POST",), 200, b"newsmore"),
    "append, in a long-poll": (f"{TAIL}&live=long-poll", ("POST",), 200, b"more"),
    "deleted, at the tail": (TAIL, ("DELETE",), 404, None),
    "deleted, in a long-poll": (f"{TAIL}&live=long-poll", ("DELETE",), 404, None),
    "created again": (BEGINNING, ("DELETE", "PUT"), 200, b"more"),
    "created again, in a long-poll": (f"{TAIL}&live=long-poll", ("DELETE", "PUT"), 410, None),
}
LONGEST_KEPT_S = 1.0


def tail_of(origin: HeadgateOrigin, prefix: str) -> str:
    """A new stream with a record: the target of a read of it, and of its tail."""
    path = origin.path(prefix)
    made = ask(origin.port, "PUT", path, b"news", **TEXT)
    assert made.status == 201, made
    return f"{path}?offset={made.next_offset}"


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", TRIED)
def test_stock_caches_store_tails_and_204s_by_the_directives_they_know(
    origin: HeadgateOrigin, name: str
) -> None:
    patient, *expected = STOCK[name]
    with before(patient, origin.port) as port:
        found = []
        for query, spelled in (("", SPELLED), ("&live=long-poll", ENDED)):
            for prefix, said in spelled.items():
                target = f"{tail_of(origin, prefix)}{query}"
                with Wire(port) as wire:
                    answers = [wire.request("GET", target, None) for _ in range(2)]
                assert {one.get("Cache-Control") for one in answers} == {said}
                assert {one.status for one in answers} == {204 if query else 200}
                found.append(answers[1].get("X-Cache-Status"))
    assert found == expected


@pytest.mark.usefixtures("processes")
async def test_equal_long_polls_are_collapsed_by_a_cache_that_honours_s_maxage(
    origin: HeadgateOrigin,
) -> None:
    with before(LOCKED, origin.port) as port:
        found = {
            prefix: await polls_without_news(Edge(port, origin, prefix=prefix), FEW)
            for prefix in SPELLED
        }
    assert Fault.NO_COLLAPSE in found[NO_CACHE].faults, found
    assert not found[MAX_AGE].faults, found


async def test_a_browser_revalidates_a_tail_with_either_directive(origin: HeadgateOrigin) -> None:
    targets = {prefix: tail_of(origin, prefix) for prefix in SPELLED}
    before = {prefix: origin.asked(prefix).reads for prefix in SPELLED}
    async with site(page="<!doctype html>") as url, chromium() as browser:
        page = await browser.new_page()
        await page.goto(f"{url}/page")
        for prefix, target in targets.items():
            there = f"http://127.0.0.1:{origin.port}{target}"
            assert await page.evaluate(TWICE, there) == [200, 200]
            assert origin.asked(prefix).reads - before[prefix] == 2


@pytest.mark.usefixtures("processes")
def test_varnish_without_a_file_serves_nothing_old_after_a_second(origin: HeadgateOrigin) -> None:
    """Its own grace is ten seconds, and its own lifetime two minutes."""
    private = f"{origin.path(PERSONAL)}{BEGINNING}"  # whose origin says max-age=60
    with before(STOCK["varnish"][0], origin.port) as port:
        targets = {}
        for prefix in SPELLED:
            for change, (query, _, status, body) in CHANGES.items():
                path, _, tail = tail_of(origin, prefix).partition("?offset=")
                target = f"{path}{query.format(tail=tail)}"
                targets[target] = (change, path, status, body)
        for target in (*targets, private):
            ask(port, "GET", target)
            assert ask(port, "GET", target).get("X-Cache-Status") == "HIT" or target is private
        for change, path, _, _ in targets.values():
            for method in CHANGES[change][1]:
                body = None if method == "DELETE" else b"more"
                assert ask(origin.port, method, path, body, **TEXT).status in {201, 204}
        time.sleep(LONGEST_KEPT_S * 1.2)
        found = {target: ask(port, "GET", target) for target in (*targets, private)}
    assert found.pop(private).get("X-Cache-Status") == "MISS"
    for target, (change, _, status, body) in targets.items():
        answer = found[target]
        assert answer.status == status, (target, change, answer)
        assert body in {None, answer.body}, (target, change, answer)
