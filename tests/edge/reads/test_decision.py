"""Which variant of a response answers a read, and what does where the origin cannot be asked."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from headgate_gateway.edge.reads.decision import (
    HIT,
    MISS,
    PASS,
    RECENT,
    RECENT_ON_ERROR,
    Decision,
    decide,
    fresh,
)
from headgate_gateway.edge.reads.variants import Variant, Variants
from headgate_gateway.protocol.requests import CatchUp
from headgate_gateway.protocol.streams.state import Lifetime
from headgate_gateway.rules.cached_response import CachedResponse, CacheRequest
from headgate_gateway.rules.edge_target import parse_edge_target
from headgate_gateway.rules.followed import Snapshot, Span
from tests.edge.reads.responses import NOW, fields, in_store, kept
from tests.edge.reads.stage import PATH, Stage, staged
from tests.support.raw_origin import RawOrigin, answer

OLD = in_store(kept('Cache-Control: max-age=0 | ETag: "a"'))


class Outdated:
    """A followed stream whose end is not known, and whose recent data may be served on errors."""

    rests_until = 0.0

    def known_answer(self, request: CacheRequest) -> tuple[Snapshot, Span] | None:
        return None

    def recent_response(self, request: CacheRequest) -> CachedResponse | None:
        return OLD.cached


class AtTail(Outdated):
    """One that is known to end where a read begins."""

    snapshot = Snapshot(PATH, "text/plain", "9", closed=False, caught_up=True)

    def known_answer(self, request: CacheRequest) -> tuple[Snapshot, Span] | None:
        return self.snapshot, Span("9", "9", b"")


OUTDATED = Outdated()


def decided(
    wishes: str = "",
    *variants: Variant,
    method: str = "GET",
    stream: Outdated = OUTDATED,
    **it: bool,
) -> Decision:
    read = parse_edge_target(f"{PATH}?offset=5", ())
    assert isinstance(read, CatchUp)
    asked = CacheRequest("headgate.test", read, fields(wishes), CIMultiDict(), "", "", Lifetime())
    known = {"is_hit_for_pass": False, "is_down": False, **it}
    return decide(method, asked, variants, stream, NOW, **known)


def test_a_fresh_response_is_used_before_the_known_tail_of_a_followed_stream() -> None:
    fresh_one = in_store(kept("Cache-Control: max-age=60"))
    served = decided("", fresh_one, stream=AtTail())
    assert (served.use, served.variant) == (HIT, fresh_one)
    served = decided("", OLD, stream=AtTail())
    assert (served.use, served.news) == (RECENT, (AtTail.snapshot, Span("9", "9", b"")))


def test_recent_data_stand_in_at_once_if_the_origin_is_known_to_be_down() -> None:
    served = decided(is_down=True)
    assert (served.use, served.recent, served.variant) == (RECENT_ON_ERROR, OLD.cached, None)
    assert decided().use is MISS


def test_a_range_of_an_uncacheable_response_is_passed_to_the_origin() -> None:
    assert decided("Range: bytes=0-1", is_hit_for_pass=True).use is PASS
    assert decided("Range: bytes=0-1").use is decided(is_hit_for_pass=True).use is MISS


@pytest.mark.parametrize("wishes", ["", "Cache-Control: only-if-cached"])
def test_a_head_request_is_not_answered_from_a_stale_response(wishes: str) -> None:
    for stored in ([], [OLD]):
        assert decided(wishes, *stored, method="HEAD").use is PASS


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
