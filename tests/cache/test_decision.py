"""What answers a read: the recent data of a followed stream, the cache, or the origin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from multidict import CIMultiDict

from gateway.cache.decision import (
    Decision,
    Fetch,
    Pass,
    ServeCached,
    ServeRecent,
    ServeTail,
    StandIn,
    StandInRecent,
    Validate,
    decide,
    fresh,
)
from gateway.cache.rules.cached_response import CachedResponse, CacheRequest
from gateway.cache.variants import Variants
from gateway.protocol.origins.edge_target import EdgeCatchUp, parse_edge_target
from gateway.protocol.origins.followed import Snapshot, Span
from gateway.protocol.origins.repair import stream_read
from gateway.protocol.streams.state import Lifetime
from tests.cache.responses import NOW, fields, in_store, kept
from tests.cache.stage import PATH, staged
from tests.support.raw_origin import RawOrigin, answer

if TYPE_CHECKING:
    from gateway.cache.variants import Variant
    from tests.cache.stage import Stage

FRESH = in_store(kept("Cache-Control: max-age=60"))
OLD = in_store(kept('Cache-Control: max-age=0 | ETag: "a"'))
OF_A_STREAM = in_store(FRESH.stored, facts=stream_read(200, fields("Stream-Next-Offset: 9"), b""))
SNAPSHOT = Snapshot(PATH, "text/plain", "9", closed=False, caught_up=True)
RECENT = Span("5", "9", b"news")


class Known(msgspec.Struct, frozen=True):
    """A stream that is followed and ends at 9, of which is known what lies after 5."""

    snapshot: Snapshot = SNAPSHOT
    is_current: bool = True
    has_recent_directives: bool = True
    rests_until: float = 0
    may_stand_in: bool = True

    @property
    def state(self) -> Known:
        return self

    def knows_tail(self, offset: str) -> bool:
        return self.is_current and offset == "9"

    def since(self, offset: str) -> Span | None:
        return RECENT if offset == "5" else None

    def in_place(self, request: CacheRequest) -> CachedResponse | None:
        return OLD.cached if self.may_stand_in and request.start == "5" else None


def decided(
    variant: Variant | None,
    stream: Known | None,
    offset: str,
    wishes: str = "",
    *,
    method: str = "GET",
    is_hit_for_pass: bool = False,
    is_down: bool = False,
) -> Decision:
    read = parse_edge_target(f"{PATH}?offset={offset}", ())
    assert isinstance(read, EdgeCatchUp)
    headers = fields(wishes)
    request = CacheRequest("headgate.test", read, headers, CIMultiDict(), "", "", Lifetime())
    variants = [] if variant is None else [variant]
    return decide(
        method, request, variants, stream, NOW, is_hit_for_pass=is_hit_for_pass, is_down=is_down
    )


FOLLOWED: dict[str, tuple[object, ...]] = {
    "not-followed-and-nothing-cached": (None, None, "5", "", Fetch()),
    "not-followed-and-fresh": (FRESH, None, "5", "", ServeCached(FRESH)),
    "not-followed-and-stale": (OLD, None, "5", "", Validate(OLD)),
    "the-tail-and-fresh": (FRESH, Known(), "9", "", ServeCached(FRESH)),
    "the-tail-and-stale": (OLD, Known(), "9", "", ServeTail(SNAPSHOT)),
    "the-tail-and-a-condition": (None, Known(), "9", 'If-None-Match: "a"', ServeTail(SNAPSHOT)),
    "the-tail-of-an-outdated-feed": (None, Known(is_current=False), "9", "", Fetch()),
    "recent-data-and-fresh": (FRESH, Known(), "5", "", ServeCached(FRESH)),
    "recent-data-and-stale": (OLD, Known(), "5", "", ServeRecent(SNAPSHOT, RECENT)),
    "recent-data-and-a-condition": (FRESH, Known(), "5", 'If-None-Match: "a"', ServeCached(FRESH)),
    "an-outdated-feed-and-fresh": (FRESH, Known(is_current=False), "5", "", ServeCached(FRESH)),
    "recent-data-without-directives-and-fresh": (
        FRESH,
        Known(has_recent_directives=False),
        "5",
        "",
        ServeCached(FRESH),
    ),
    "an-older-offset-and-fresh": (FRESH, Known(), "4", "", ServeCached(FRESH)),
    "an-older-offset-and-nothing-cached": (None, Known(), "4", "", Fetch()),
}


@pytest.mark.parametrize(
    ("variant", "stream", "offset", "wishes", "decision"), FOLLOWED.values(), ids=FOLLOWED
)
def test_recent_data_of_a_followed_stream_are_used_unless_a_cached_response_is_fresh(
    variant: Variant | None,
    stream: Known | None,
    offset: str,
    wishes: str,
    decision: Decision,
) -> None:
    assert decided(variant, stream, offset, wishes) == decision


def test_a_stale_response_is_used_at_once_if_the_origin_is_known_to_be_down() -> None:
    stream = Known(is_current=False)
    assert decided(None, stream, "5", is_down=True) == StandInRecent(OLD.cached, None, 0)
    assert decided(None, None, "5", is_down=True) == Fetch()
    assert decided(OLD, None, "5", is_down=True) == Validate(OLD)
    allowed = in_store(kept("Cache-Control: max-age=1, stale-if-error=60 | Age: 30"))
    assert decided(allowed, None, "5", is_down=True) == StandIn(allowed)
    assert decided(allowed, None, "5") == Validate(allowed)


def test_a_range_of_an_uncacheable_response_is_passed_to_the_origin() -> None:
    part = "Range: bytes=0-1"
    assert decided(None, Known(), "9", part, is_hit_for_pass=True) == Pass()
    assert decided(None, Known(), "9", part) == ServeTail(SNAPSHOT)
    assert decided(None, None, "5", is_hit_for_pass=True) == Fetch()


@pytest.mark.parametrize(
    "variant",
    [
        None,
        pytest.param(FRESH, id="a-fresh-response"),
        pytest.param(OLD, id="a-stale-response"),
        pytest.param(OF_A_STREAM, id="a-response-of-a-stream"),
    ],
)
@pytest.mark.parametrize("wishes", ["", "Cache-Control: only-if-cached"])
def test_a_head_request_is_answered_only_from_a_fresh_response_outside_streams(
    variant: Variant | None, wishes: str
) -> None:
    found = decided(variant, Known(), "9", wishes, method="HEAD")
    assert found == (ServeCached(variant) if variant is FRESH else Pass())


def on_the_fast_path(stage: Stage, *wishes: tuple[str, str]) -> Variant | None:
    """What a plain GET is answered with before there is a request object."""
    request = stage.request("", *wishes)
    entry = stage.store.get(request.key, stage.clock())
    assert isinstance(entry, Variants)
    return fresh(entry.variants, request.headers, stage.clock())


@pytest.mark.parametrize(("age", "newest"), [(0, b"for all"), (30, b"for one")])
async def test_the_newest_matching_variant_is_selected_on_both_paths(
    age: int, newest: bytes
) -> None:
    """It is the newest as the origin made it, whichever came first."""
    both = ("Foo", "1")
    for_one = answer(b"for one", "Vary: Foo", "Cache-Control: max-age=60")
    for_all = answer(b"for all", f"Age: {age}", f"Cache-Control: max-age={age + 5}")
    async with RawOrigin(for_one, for_all) as raw, staged(raw) as stage:
        await stage.get("", both)
        stage.clock.advance(1)
        await stage.get()
        found, fast = stage.find("", both), on_the_fast_path(stage, both)
        assert found is not None
        assert found.cached.body == newest
        assert fast is found
        stage.clock.advance(5)  # what is for all is stale now
        fast = on_the_fast_path(stage, both)
        assert fast is (None if newest == b"for all" else found)
        assert on_the_fast_path(stage) is None
