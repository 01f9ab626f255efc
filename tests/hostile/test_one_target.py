"""A target that two parts of the gateway read differently: guarded as one stream, kept or asked for
as another (S2 to S5). Route, name, key and what the origin is asked come of one text.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import example, given, settings

from headgate_gateway.access.token_guard import TokenGuard
from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.http.paths import canonical_host, canonical_target, split
from headgate_gateway.routes.router import Router
from tests.hostile.targets import fronts, head, hosts, names, plain, queries
from tests.support.examples import IS_WHOLE, at_least, examples
from tests.support.guarded_gateway import tokens_file
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, PREFIX, Serving, edge_serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from multidict import MultiMapping

    from headgate_gateway.access.operations import Need
    from headgate_gateway.access.principal import Principal
    from headgate_gateway.routes.contract import StreamRoute
    from tests.support.http1 import Answer

KEPT = answer(b"canary", "Content-Type: text/plain", "Cache-Control: max-age=600")
GUARDED = {"auth": ["tokens"], "anonymous": ["read", "append"], "visibility": "public"}
ORDINARY = "X-Request-Id:asked-for"
TAKEN = 0.15  # of all targets that are drawn at least such a part is not refused


class Found:
    """What the router was asked and said, and what the guards of routes were asked about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: set[str] = set()
        self.names: set[str] = set()
        self.guarded: set[str] = set()
        find, known_principal = Router.find, TokenGuard.known_principal

        def noting(router: Router, path: str, *, control: bool = False) -> tuple[StreamRoute, str]:
            route, name = find(router, path, control=control)
            self.paths.add(path)
            self.names.add(f"{route.prefix}/{name}")
            return route, name

        def asking(
            guard: TokenGuard,
            headers: MultiMapping[str],
            token: str | None,
            needs: Sequence[Need],
            now: float,
        ) -> Principal | None:
            self.guarded.update(need.path for need in needs)
            return known_principal(guard, headers, token, needs, now)

        monkeypatch.setattr(Router, "find", noting)
        monkeypatch.setattr(TokenGuard, "known_principal", asking)

    def clear(self) -> None:
        self.guarded.clear()
        self.paths.clear()
        self.names.clear()


class Stage:
    """A gateway with both kinds of route, and the origin behind one of them."""

    def __init__(self, found: Found, folder: Path) -> None:
        self.found = found
        tokens = str(tokens_file(folder))
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.stack = AsyncExitStack()
        self.origin = self.runner.run(self.stack.enter_async_context(RawOrigin(KEPT)))
        self.gateway: Serving = self.runner.run(
            self.stack.enter_async_context(edge_serving(self.origin, GUARDED, tokens_file=tokens))
        )

    def ask(self, method: str, target: str, host: str, *lines: str) -> Answer:
        return self.runner.run(self.gateway.ask(head(method, target, host, *lines)))

    def kept(self) -> set[object]:
        """What answers are kept under."""
        store = self.gateway.store
        return {entry.key for group in store.groups() for entry in store.of_group(group)}

    def begin(self) -> None:
        self.gateway.store.clear()
        self.origin.heard.clear()
        self.found.clear()
        self.gateway.routes.place.cache_clear()  # where paths lead is to be looked up again

    def close(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(Found(monkeypatch), tmp_path)
    yield made
    made.close()


@pytest.mark.timeout(240)
def test_a_route_to_an_origin_uses_one_canonical_target_for_all_parts(
    stage: Stage, tell: Callable[[str], None]
) -> None:
    tried, taken = [0], [0]

    @settings(max_examples=250 if IS_WHOLE else 25, deadline=None)
    @given(fronts, names, queries, hosts)
    @example("", "a/%61", "?a=2&offset=1", "a.example:80")
    @example("http://{host}", "...", "", "A.Example")
    def for_all(front: str, name: str, query: str, host: str) -> None:
        target = f"{front.format(host=host)}{EDGE}/{name}{query}"
        stage.begin()
        tried[0] += 1
        answers = [
            stage.ask("GET", target, host, ORDINARY),
            stage.ask("GET", target, host),
            stage.ask("POST", target, host),
        ]
        heard = {one.target for one in stage.origin.heard}
        if 200 not in {one.status for one in answers}:
            assert {one.status for one in answers} <= {400, 401, 404}
            assert (heard, stage.kept()) == (set(), set())
            return
        taken[0] += 1
        assert [one.status for one in answers] == [200, 200, 200]
        (asked,) = heard
        path, _ = split(asked)
        assert stage.found.paths == stage.found.names == stage.found.guarded == {path}
        assert plain(path).segments == plain(target).segments
        assert not {b".", b".."} & set(plain(path).segments)
        # The write made the copy old; who asks now has it kept under what the origin is asked.
        stage.ask("GET", target, host)
        assert stage.kept() == {(canonical_host(host), asked)}
        stage.origin.heard.clear()
        again = stage.ask("GET", asked, canonical_host(host))  # the fast path, where they are equal
        assert (again.headers["x-cache"], stage.origin.heard) == ("HIT", [])

    for_all()
    tell(f"{tried[0]} targets, {taken[0]} taken")
    assert taken[0] >= at_least(int(TAKEN * tried[0]), 2)


@pytest.mark.timeout(240)
def test_a_hosted_route_uses_one_canonical_path_for_all_parts(
    stage: Stage, tell: Callable[[str], None]
) -> None:
    tried, taken = [0], [0]

    @settings(max_examples=examples(150), deadline=None)
    @given(fronts, names, hosts)
    @example("", "a/%61", "a.example:80")
    @example("http://{host}", "...", "A.Example")
    def for_all(front: str, name: str, host: str) -> None:
        target = f"{front.format(host=host)}{PREFIX}/{name}"
        stage.begin()
        tried[0] += 1
        made = stage.ask("PUT", target, host)
        if made.status != 201:
            assert made.status in {400, 404, 501}
            assert stage.ask("POST", target, host).status == made.status
            return
        taken[0] += 1
        assert stage.ask("POST", target, host).status == 204
        assert stage.ask("GET", target, host, ORDINARY).body == b"xx"
        (path,) = stage.found.paths
        assert stage.found.names == {path}
        assert plain(path).segments == plain(target).segments
        assert {split(str(key))[0] for key in stage.kept()} == {path}
        where = made.headers["location"]
        assert where.endswith(f"{canonical_host(host)}{path}")
        assert stage.ask("DELETE", path, host).status == 204
        assert stage.ask("GET", target, host).status == 404

    for_all()
    tell(f"{tried[0]} targets, {taken[0]} taken")
    assert taken[0] >= at_least(int(TAKEN * tried[0]), 2)


NOT_OF_THIS_HOST = (
    *("http://evil.example/s", "http://a@b/s", "http://b/s", "http:///s", "http://a.b/s"),
    *("http://a:81/s", "http://a#/s", "http://a\\/s", "//a/s#", "a/s", "*", "", "s", "ftp://a/s"),
    *("http:/a/s", "http:a/s", "javascript:x", "http://a%2f/s", "http://[::1]/s", "http://a /s"),
)


@pytest.mark.parametrize("target", NOT_OF_THIS_HOST)
def test_a_target_that_is_neither_a_path_nor_a_url_of_this_host_is_refused(target: str) -> None:
    with pytest.raises(BadRequest):
        canonical_target(target, "a")


OF_THIS_HOST = {
    "http://a/s": "/s",
    "HTTPS://A:80/s?x#"[:-1]: "/s?x",
    "http://a": "/",
    "http://a?offset=-1": "/?offset=-1",
    "/s?": "/s?",
    "/%73": "/s",
}


@pytest.mark.parametrize("target", OF_THIS_HOST)
def test_a_url_of_this_host_is_reduced_to_its_path(target: str) -> None:
    assert canonical_target(target, "a") == OF_THIS_HOST[target]
