"""Another implementation of RFC 9111 comes to the same decisions, where it decides at all.

Left out, since hishel 2.0.0 decides otherwise or not at all:

- answers to HEAD, `Vary: *`, 412 and 416: it stores them, we do not;
- `must-understand`, `Age` and CDN-Cache-Control, which it does not look at; field names in
  `private` and `no-cache`, which make it ignore the directive; malformed values;
- guessed lifetimes: it takes the time since Last-Modified, up to a week, we what RFC 9111 suggests;
- serving stale: it knows no windows, and lets s-maxage and proxy-revalidate be served stale;
- what only conditions could make useful: each response here has an ETag, so that all are kept.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from email.utils import format_datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING

import hishel
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.cache.decision import ServeCached, reuse
from gateway.cache.rules.policy import Defaults, Times, storable
from tests.cache.responses import in_store
from tests.support.examples import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.cache.variants import Variant

NOW = 784_111_777
URL = "http://origin/stream"
OPTIONS = hishel.CacheOptions(shared=True, supported_methods=["GET"], allow_stale=False)

LIFETIMES = ("max-age=0", "max-age=60", "Max-Age=60", "s-maxage=0", "s-maxage=30", "s-maxage=90")
OTHERS = (
    *("public", "public", "private", "no-store", "NO-STORE", "no-cache", "must-revalidate"),
    *("proxy-revalidate", "immutable", "no-transform", "foo", 'foo="max-age=60, no-store"'),
)
STATUSES = (
    200,
    200,
    200,
    201,
    203,
    204,
    206,
    301,
    302,
    304,
    307,
    308,
    403,
    404,
    410,
    500,
    501,
    503,
    599,
)


class Exchange(msgspec.Struct, frozen=True):
    """One request, its answer, and the next request of the same URL."""

    method: str
    status: int
    cache_control: list[str]
    expires_in: int | None
    vary: list[str]
    authorised: bool
    asked: dict[str, str]
    asked_later: dict[str, str]
    age: int

    def request_headers(self) -> dict[str, str]:
        return self.asked | ({"Authorization": "Bearer x"} if self.authorised else {})

    def headers(self) -> dict[str, str]:
        born = NOW - self.age
        optional = {
            "Cache-Control": ", ".join(self.cache_control),
            "Vary": ", ".join(self.vary),
            "Expires": "" if self.expires_in is None else http_date(born + self.expires_in),
        }
        given = {name: value for name, value in optional.items() if value}
        return {"Date": http_date(born), "ETag": '"a"'} | given


def http_date(seconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def directives(of: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    """Each of them once: which of two counts is a choice."""
    return st.lists(
        st.sampled_from(of), max_size=2, unique_by=lambda given: given.lower().split("=")[0]
    )


REQUEST_FIELDS = st.dictionaries(
    st.sampled_from(["Foo", "Bar"]), st.sampled_from(["1", "2"]), max_size=2
)
EXCHANGES = st.builds(
    Exchange,
    method=st.sampled_from(["GET"] * 9 + ["POST"]),
    status=st.sampled_from(STATUSES),
    cache_control=st.tuples(directives(LIFETIMES), directives(OTHERS)).map(
        lambda parts: [*parts[0], *parts[1]]
    ),
    expires_in=st.sampled_from([None, None, -60, 0, 45]),
    vary=st.lists(st.sampled_from(["foo", "Bar"]), max_size=2),
    authorised=st.booleans(),
    asked=REQUEST_FIELDS,
    asked_later=REQUEST_FIELDS,
    age=st.sampled_from([0, 29, 30, 31, 44, 45, 46, 59, 60, 61, 89, 90, 91]),
)


@pytest.fixture(scope="module", autouse=True)
def _the_same_clock() -> Iterator[None]:
    """What hishel would ask of the machine is always the moment that we pass on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hishel._core._spec.time", SimpleNamespace(time=lambda: float(NOW)))
        yield


def our_entry(exchange: Exchange) -> Variant | None:
    born = NOW - exchange.age
    stored = storable(
        exchange.method,
        CIMultiDict(exchange.request_headers()),
        exchange.status,
        CIMultiDict(exchange.headers()),
        Times(born, born),
        Defaults(stale_if_error=0),
    )
    return None if stored is None else in_store(stored)


def hishel_entry(exchange: Exchange) -> hishel.Entry | None:
    request = hishel.Request(exchange.method, URL, hishel.Headers(exchange.request_headers()))
    response = hishel.Response(exchange.status, hishel.Headers(exchange.headers()))
    state: hishel.State | None = hishel.CacheMiss(request=request, options=OPTIONS).next(response)
    if not isinstance(state, hishel.StoreAndUse):
        return None
    return hishel.Entry(uuid.uuid4(), request, response)


@settings(max_examples=examples(1000))
@given(EXCHANGES)
def test_headgate_and_hishel_store_the_same_responses(exchange: Exchange) -> None:
    assert (our_entry(exchange) is None) == (hishel_entry(exchange) is None)


@settings(max_examples=examples(1000))
@given(EXCHANGES)
def test_headgate_and_hishel_serve_the_same_responses_without_a_request(exchange: Exchange) -> None:
    ours, theirs = our_entry(exchange), hishel_entry(exchange)
    later = exchange.asked_later
    decision = reuse(CIMultiDict(later), [] if ours is None else [ours], NOW)
    state = hishel.IdleClient(options=OPTIONS).next(
        hishel.Request("GET", URL, hishel.Headers(later)), [] if theirs is None else [theirs]
    )
    assert isinstance(decision, ServeCached) == isinstance(state, hishel.FromCache)
