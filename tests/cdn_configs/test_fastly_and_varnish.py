"""What Fastly's rules and Varnish's store, and for how long: the same.

Both run in Varnish, Fastly's after a translation of their spelling, before an origin that says what
the gateway says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_cdn.options import Options
from headgate_cdn.render import render
from headgate_cdn.rules import RULES
from headgate_cdn.targets import target
from headgate_gateway.protocol import cache_headers
from headgate_gateway.protocol.cache_headers import Freshness
from tests.cdn_configs.varnish_twin import (
    Answer,
    Edge,
    Origin,
    serving,
    translated,
    varnish,
    watched,
)
from tests.support.ports import HOST
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Case(NamedTuple):
    """An answer of the gateway's, and how long it is kept; None: not at all."""

    query: str
    answer: Answer
    kept_s: int | None
    stale_s: int = 0


def says(lines: str, **more: str) -> tuple[tuple[str, str], ...]:
    """The gateway's own header lines, and others."""
    others = [(name.replace("_", "-"), value) for name, value in more.items()]
    return (*cache_headers.fields(lines), *others)


def targeted(control: str, *, cdn: str = "", surrogate: str = "", age: int = 0) -> Answer:
    """The response of an HTTP origin with a Cache-Control, and with fields for shared caches."""
    fields = {"CDN-Cache-Control": cdn, "Surrogate-Control": surrogate, "Age": f"{age or ''}"}
    others = tuple((name, value) for name, value in fields.items() if value)
    return Answer(fields=(("Cache-Control", control), *others))


USUALLY = Freshness()
SPELLED = Freshness(tail_directive="max-age=0")
PURGED = Freshness(purged_fields=("Surrogate-Control",))
OTHERS_PURGED = Freshness(purged_fields=("CDN-Cache-Control",))
CHUNK = cache_headers.chunk_lifetime(USUALLY, None)
TAIL = cache_headers.tail_lifetime(USUALLY)
EVENTS = "text/event-stream"
CATCH_UP, POLL, SSE = "?offset=0_1", "?cursor=7&live=long-poll&offset=0_1", "?live=sse&offset=0_1"
CASES = {
    "a-whole-chunk": Case(
        CATCH_UP,
        Answer(fields=says(CHUNK)),
        USUALLY.chunk_max_age,
        USUALLY.stale_while_revalidate,
    ),
    "the-tail": Case(CATCH_UP, Answer(fields=says(TAIL, Stream_Up_To_Date="true")), RULES.moment_s),
    "the-tail-in-another-spelling": Case(
        CATCH_UP, Answer(fields=says(cache_headers.tail_lifetime(SPELLED))), RULES.moment_s
    ),
    "no-news-in-another-spelling": Case(
        POLL,
        Answer(204, says(cache_headers.poll_timeout(SPELLED, closed=False))),
        RULES.moment_s,
    ),
    "a-tail-that-is-asked-for-each-time": Case(
        CATCH_UP, Answer(fields=says(cache_headers.tail_lifetime(Freshness(tail_max_age=0)))), None
    ),
    "a-closed-stream": Case(
        CATCH_UP, Answer(fields=says(cache_headers.closed_lifetime(USUALLY, None))), 60
    ),
    "a-closed-stream-where-this-cache-is-purged": Case(
        CATCH_UP, Answer(fields=says(cache_headers.closed_lifetime(PURGED, None))), 86_400
    ),
    "a-closed-stream-where-another-cache-is-purged": Case(
        CATCH_UP, Answer(fields=says(cache_headers.closed_lifetime(OTHERS_PURGED, None))), 60
    ),
    "an-answer-without-a-lifetime": Case(CATCH_UP, Answer(), None),
    "what-is-private": Case(CATCH_UP, Answer(fields=says(cache_headers.PRIVATE)), None),
    "what-is-private-and-has-a-lifetime": Case(
        CATCH_UP, Answer(fields=says("Cache-Control: private, max-age=60\r\n")), None
    ),
    "what-sets-a-cookie": Case(CATCH_UP, Answer(fields=says(CHUNK, Set_Cookie="a=b")), None),
    "what-varies-by-anything": Case(CATCH_UP, Answer(fields=says(CHUNK, Vary="*")), None),
    "what-is-private-by-the-field-for-cdns": Case(
        CATCH_UP, targeted("max-age=60", cdn="private"), None
    ),
    "what-is-private-by-the-field-for-surrogates": Case(
        CATCH_UP, targeted("max-age=60", surrogate="private"), None
    ),
    "what-no-cdn-may-store": Case(CATCH_UP, targeted("max-age=60", cdn="no-store"), None),
    "what-no-surrogate-may-store": Case(
        CATCH_UP, targeted("max-age=60", surrogate="no-store"), None
    ),
    "what-a-cdn-has-to-validate": Case(CATCH_UP, targeted("max-age=60", cdn="no-cache"), None),
    "no-such-stream": Case(CATCH_UP, Answer(404, says(cache_headers.NO_STORE)), None),
    "no-such-stream-with-a-lifetime": Case(CATCH_UP, Answer(404, says(CHUNK)), None),
    "polled-data": Case(
        POLL, Answer(fields=says(cache_headers.poll_lifetime(Freshness(), None))), 20
    ),
    "polled-data-that-an-origin-lets-be-stale": Case(
        POLL,
        Answer(fields=says("Cache-Control: public, max-age=9, stale-while-revalidate=99\r\n")),
        9,
    ),
    "polled-data-of-the-beginning": Case(POLL, Answer(fields=says(TAIL)), RULES.moment_s),
    "no-news": Case(POLL, Answer(204, says(cache_headers.POLL_TIMEOUT)), RULES.moment_s),
    "no-news-of-a-closed-stream": Case(POLL, Answer(204, says(cache_headers.NO_STORE)), 1),
    "no-stream-to-poll-yet": Case(
        "?live=long-poll&offset=-1", Answer(404, says(cache_headers.NO_STORE)), None
    ),
    "a-poll-that-fails": Case(POLL, Answer(503, says(cache_headers.NO_STORE)), RULES.moment_s),
    "private-polled-data": Case(POLL, Answer(fields=says(cache_headers.PRIVATE)), None),
    "events": Case(
        SSE,
        Answer(fields=says(cache_headers.EVENT_STREAM, Content_Type=EVENTS)),
        RULES.sse_join_s,
    ),
    "private-events": Case(
        SSE, Answer(fields=says("Cache-Control: private\r\n", Content_Type=EVENTS)), None
    ),
    "events-that-were-asked-for-in-disguise": Case(
        "?l%69ve=sse&offset=0_1",
        Answer(fields=says(cache_headers.EVENT_STREAM, Content_Type=EVENTS)),
        None,
    ),
}


# Fastly reads no CDN-Cache-Control itself: its file goes by that only where it forbids to store.
BY_THE_FIELD_FOR_CDNS = {
    "a-time-for-cdns": Case(CATCH_UP, targeted("no-store", cdn="max-age=90"), 90),
    "a-time-for-cdns-beside-a-private-one": Case(
        CATCH_UP, targeted("private, max-age=9", cdn="public, max-age=90"), 90
    ),
    "a-shorter-time-for-cdns": Case(CATCH_UP, targeted("max-age=60", cdn="max-age=9"), 9),
    "no-time-for-cdns": Case(CATCH_UP, targeted("max-age=60", cdn="max-age=0"), None),
    "a-time-for-surrogates-beside-one-for-cdns": Case(
        CATCH_UP, targeted("max-age=9", cdn="max-age=60", surrogate="max-age=90"), 90
    ),
    "a-surrogate-control-without-a-time": Case(
        CATCH_UP, targeted("max-age=9", cdn="max-age=90", surrogate='content="ESI/1.0"'), 90
    ),
    "a-part-of-the-time-for-cdns": Case(
        CATCH_UP, targeted("no-store", cdn="max-age=90", age=30), 60
    ),
    "a-time-for-cdns-that-is-over": Case(
        CATCH_UP, targeted("max-age=999", cdn="max-age=90", age=91), None
    ),
    "stale-for-cdns": Case(
        CATCH_UP, targeted("max-age=9", cdn="max-age=90, stale-while-revalidate=7"), 90, 7
    ),
    "parameters-and-a-list-for-cdns": Case(
        CATCH_UP, targeted("no-store", cdn='a;b="\\"",c=( d ?1;e=:eg==: ),max-age=90;f=-1.5'), 90
    ),
    "a-time-of-another-type-for-cdns": Case(
        CATCH_UP, targeted("no-store", cdn='max-age="90"'), None
    ),
    "a-time-for-shared-caches-alone": Case(CATCH_UP, targeted("s-maxage=90"), 90),
}


PASSES: dict[str, tuple[str, str, dict[str, str]]] = {
    "head": ("HEAD", CATCH_UP, {}),
    "post": ("POST", "", {}),
    "authorization": ("GET", CATCH_UP, {"Authorization": "Bearer a"}),
    "cookie": ("GET", POLL, {"Cookie": "a=b; __Secure-headgate=c"}),
    "now": ("GET", "?offset=now", {}),
    "events-from-now": ("GET", "?live=sse&offset=now", {}),
}


OTHERS = ("order", "hosts", "sites", "shared", "resumed", "repeated", "id")
# Stale after a second, and then served for five minutes while a new copy is fetched.
AGEING = Answer(fields=says(cache_headers.chunk_lifetime(Freshness(chunk_max_age=1), None)))
FAILING = Answer(503, says(cache_headers.NO_STORE))
IN_VAIN = 3  # fetches: a stale copy has to survive more than the first


def vcl(name: str, origin_port: int) -> str:
    """The target's file, for real Varnish."""
    if name == "fastly":
        said = Options(upstream="gateway.example.com:443", host="streams.example.com", sites=True)
        return translated(render(target(name), said), origin_port)
    said = Options(upstream=f"{HOST}:{origin_port}", standalone=True, sites=True)
    return watched(render(target(name), said))


@pytest.fixture(scope="module", params=["fastly", "varnish"])
def edge(processes: None, request: pytest.FixtureRequest) -> Iterator[Edge]:
    cases = CASES | BY_THE_FIELD_FOR_CDNS
    answers = {f"/{name}": case.answer for name, case in cases.items()}
    others = {f"/{name}": Answer(fields=says(CHUNK)) for name in (*PASSES, *OTHERS)}
    others["/tagged"] = Answer(fields=says(CHUNK, ETag='"b"'))
    origin = Origin({**answers, **others, "/failing": AGEING, "/away": AGEING})
    with serving(origin), varnish(vcl(request.param, origin.server_port), origin) as edge:
        yield edge


@pytest.mark.parametrize("name", CASES)
def test_fastly_and_varnish_store_each_response_for_the_lifetime_of_the_rules(
    name: str, edge: Edge
) -> None:
    assert_stored(name, CASES[name], edge)


@pytest.mark.parametrize("edge", ["varnish"], indirect=True)
@pytest.mark.parametrize("name", BY_THE_FIELD_FOR_CDNS)
def test_varnish_stores_a_response_for_the_time_that_its_origin_says_to_cdns(
    name: str, edge: Edge
) -> None:
    assert_stored(name, BY_THE_FIELD_FOR_CDNS[name], edge)


def assert_stored(name: str, case: Case, edge: Edge) -> None:
    """Assert that the response of a case is stored for its time, and given again."""
    first, second = (edge.ask(f"/{name}{case.query}") for _ in range(2))
    assert first.status == second.status == case.answer.status
    assert first.kept is (case.kept_s is not None)
    assert edge.origin.requests(f"/{name}") == {"GET": 1 if first.kept else 2}
    if case.kept_s is not None:
        assert case.kept_s - 1 < first.ttl_s <= case.kept_s
        assert first.grace_s == case.stale_s


@pytest.mark.parametrize("name", PASSES)
def test_an_unshared_request_bypasses_fastly_and_varnish_unchanged(name: str, edge: Edge) -> None:
    method, query, headers = PASSES[name]
    for _ in range(2):
        assert edge.ask(f"/{name}{query}", method, **headers).status == 200
    assert edge.origin.requests(f"/{name}") == {method: 2}


def test_a_reader_with_credentials_gets_no_cached_response_of_others(edge: Edge) -> None:
    anonymous = edge.ask(f"/shared{CATCH_UP}")
    known = edge.ask(f"/shared{CATCH_UP}", Authorization="Bearer a")
    again = edge.ask(f"/shared{CATCH_UP}")
    assert anonymous.body == again.body != known.body


def test_sse_requests_with_different_last_event_ids_share_no_response(edge: Edge) -> None:
    places = ("0_1", "0_2", "0_1")
    bodies = [edge.ask(f"/resumed{SSE}", **{"Last-Event-ID": at}).body for at in places]
    assert bodies == [b"1", b"2", b"1"]


def test_a_last_event_id_makes_no_second_copy_of_a_catch_up(edge: Edge) -> None:
    bodies = [edge.ask(f"/repeated{CATCH_UP}", **{"Last-Event-ID": at}).body for at in ("a", "b")]
    assert bodies == [b"1", b"1"]


def test_a_copy_has_no_request_id_of_the_reader_for_whom_it_was_fetched(edge: Edge) -> None:
    first, second = (edge.ask(f"/id{CATCH_UP}", **{"X-Request-Id": at}) for at in ("a", "b"))
    assert (first.request_id, second.request_id) == ("a", None)
    assert first.body == second.body


@pytest.mark.parametrize("edge", ["varnish"], indirect=True)
def test_varnish_finds_the_etag_of_a_copy_in_a_list_of_several(edge: Edge) -> None:
    asked = (None, '"b"', '"a", "b"', 'W/"b","c"', '"a", "c"')
    fields = [{} if tags is None else {"If-None-Match": tags} for tags in asked]
    answers = [edge.ask(f"/tagged{CATCH_UP}", **one).status for one in fields]
    assert answers == [200, 304, 304, 304, 200]


def test_queries_in_different_order_share_a_cached_response(edge: Edge) -> None:
    one = edge.ask("/order?offset=0_1&live=long-poll&cursor=7")
    other = edge.ask("/order?cursor=7&offset=0_1&live=long-poll")
    assert one.body == other.body
    assert edge.origin.requests("/order") == {"GET": 1}


def test_two_hosts_share_no_cached_response(edge: Edge) -> None:
    one = edge.ask(f"/hosts{CATCH_UP}")
    other = edge.ask(f"/hosts{CATCH_UP}", Host="other.example")
    assert (one.body, other.body) == (b"1", b"2")


def test_two_origins_share_no_cached_response_and_bad_origins_count_as_none(edge: Edge) -> None:
    sites = ("https://a.example", "https://b.example", "https://a.example")
    bodies = [edge.ask(f"/sites{CATCH_UP}", Origin=site).body for site in sites]
    nobody = [
        edge.ask(f"/sites{CATCH_UP}", **headers).body
        for headers in ({}, {"Origin": "a, b"}, {"Origin": "https://" + "a" * 261})
    ]
    assert bodies == [b"1", b"2", b"1"]
    assert nobody == [b"3", b"3", b"3"]


def give_stale_copies(edge: Edge, target: str, failures: Callable[[], int]) -> None:
    """Ask until so many fetches have failed; each answer has to be the first copy."""
    before = failures()

    def has_failed() -> bool:
        answer = edge.ask(target)
        assert (answer.status, answer.body) == (200, b"1")
        return failures() >= before + IN_VAIN

    wait_until(has_failed)


def test_a_stale_response_is_served_while_the_gateway_is_unreachable(edge: Edge) -> None:
    target = f"/away{CATCH_UP}"
    edge.ask(target)
    with edge.origin.away():
        give_stale_copies(edge, target, lambda: edge.origin.turned_away)
    wait_until(lambda: edge.ask(target).body == b"2", "a new copy, as the gateway is back")


def test_a_stale_response_is_served_while_the_gateway_answers_503(edge: Edge) -> None:
    target = f"/failing{CATCH_UP}"
    edge.ask(target)
    edge.origin.answers["/failing"] = FAILING
    give_stale_copies(edge, target, lambda: edge.origin.requests("/failing")["GET"])
    edge.origin.answers["/failing"] = AGEING
    wait_until(lambda: edge.ask(target).body != b"1", "a new copy, as the gateway is back")
