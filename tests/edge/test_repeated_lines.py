"""Fields that an origin sends in several lines, by which caches in front decide, have one line."""

from __future__ import annotations

from itertools import permutations, product
from typing import TYPE_CHECKING

import pytest
from multidict import CIMultiDict

from headgate_gateway.protocol.http.repeated_fields import join_lines
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get, post, request

if TYPE_CHECKING:
    from tests.support.http1 import Answer

PAGE = "https://a.example"
ALL, SOME = ("*",), (PAGE,)
TARGET = f"{EDGE}/s?offset=1"
LISTS = {
    "Cache-Control": ("max-age=60", "s-maxage=60"),
    "CDN-Cache-Control": ("max-age=60", "must-revalidate"),
    "Surrogate-Control": ("max-age=60", 'content="ESI/1.0"'),
    "Vary": ("X-One", "X-Two, x-one"),
    "Pragma": ("a", "b"),
    "Content-Encoding": ("x-one", "x-two"),
}
ONCE = {
    "Date": ("Fri, 15 Jan 2027 07:59:58 GMT", "Fri, 15 Jan 2027 07:59:59 GMT"),
    "ETag": ('"one"', '"two"'),
    "Expires": ("Fri, 15 Jan 2027 09:00:00 GMT", "Fri, 15 Jan 2027 08:30:00 GMT"),
    "Last-Modified": ("Fri, 15 Jan 2027 07:00:00 GMT", "Fri, 15 Jan 2027 06:00:00 GMT"),
    "Retry-After": ("7", "9"),
    "X-Accel-Expires": ("60", "0"),
    "Content-Type": ("text/plain", "text/html"),
}
OTHERS = {
    "Link": ("</a>; rel=preload", "</b>; rel=preload"),
    "Warning": ('199 - "a"', '199 - "b"'),
    "WWW-Authenticate": ("Basic", "Bearer"),
    "X-Other": ("a", "b"),
}
AGES = ("3", "50")


def sent(names: int) -> list[str]:
    """Every field in two lines, in the order of the table or, with 1, in the other order."""
    table = {**LISTS, **ONCE, **OTHERS}
    return [
        f"{name}: {line}" for name, it in table.items() for line in list(permutations(it))[names]
    ]


def lines(told: Answer, name: str) -> list[str]:
    return [value for field, value in told.fields if field == name.lower()]


def check(told: Answer, order: int, sites: tuple[str, ...]) -> None:
    """Assert that one line has all of a list, and that the others are as the gateway reads them."""
    for name, values in LISTS.items():
        pair = list(permutations(values))[order]
        if name == "Vary":
            names = ["X-One, X-Two", "X-Two, x-one"][order]
            assert lines(told, name) == [names if sites == ALL else f"{names}, Origin"], told
        else:
            assert lines(told, name) == [", ".join(pair)], (name, told)
    for name, values in ONCE.items():
        assert lines(told, name) == [list(permutations(values))[order][0]], (name, told)
    assert len(lines(told, "Age")) < 2
    for name, values in OTHERS.items():
        assert lines(told, name) == list(list(permutations(values))[order]), (name, told)


@pytest.mark.parametrize("order", [0, 1], ids=["in order", "turned round"])
@pytest.mark.parametrize("sites", [ALL, SOME], ids=["for all pages", "for some pages"])
async def test_a_response_has_one_line_of_each_list_on_every_way_to_its_reader(
    order: int, sites: tuple[str, ...]
) -> None:
    ages = [f"Age: {it}" for it in list(permutations(AGES))[order]]
    said, gone = answer(b"data", *sent(order), *ages), answer(b"gone", *sent(order))
    page = [] if sites == ALL else [f"Origin: {PAGE}"]
    async with RawOrigin(said) as origin, edge_serving(origin, cors_origins=sites) as gateway:
        ways = {
            "miss": get(TARGET),
            "hit": get(TARGET),
            "hit with an id": get(TARGET, "X-Request-Id: a"),
            "for a page": get(TARGET, *page),
            "of no page": get(TARGET, "Origin: https://other.example"),
            "304": get(TARGET, f"If-None-Match: {list(permutations(ONCE['ETag']))[order][0]}"),
            "HEAD": request("HEAD", TARGET),
            "append": post(TARGET, b"data"),
            "past the cache": get(TARGET, "Authorization: a"),
        }
        for way, wire in ways.items():
            told = await gateway.ask(wire)
            assert told.status == (304 if way == "304" else 200), (way, told)
            check(told, order, sites)
        assert gateway.fast.answered
        origin.scripts = [gone.replace(b"200 OK", b"404 Not Found")]
        for wire in (get(f"{EDGE}/other?offset=1"), post(f"{EDGE}/other", b"data")):
            told = await gateway.ask(wire)
            assert told.status == 404
            check(told, order, sites)


async def test_a_304_with_several_lines_leaves_one_line_of_each_list() -> None:
    first = answer(b"data", "Cache-Control: no-cache", 'ETag: "one"', "Vary: X-Old")
    lines_of_304 = (
        "Cache-Control: max-age=60",
        "cache-control: s-maxage=9",
        "Vary: A",
        "vary: a, B",
    )
    confirmed = answer(b"", *lines_of_304, status="304 Not Modified")
    async with RawOrigin(first, confirmed) as origin, edge_serving(origin) as gateway:
        told = [await gateway.ask(get(TARGET)) for _ in range(4)][-1]
        assert [*lines(told, "Cache-Control"), *lines(told, "Vary")] == [
            "max-age=60, s-maxage=9",
            "A, B",
        ]
        assert told.get("X-Cache") == "HIT"
        assert len(origin.heard) == 2


@pytest.mark.parametrize("sites", [ALL, SOME], ids=["for all pages", "for some pages"])
@pytest.mark.parametrize(
    "said", [("Cache-Control: max-age=60", "Cache-Control: private"), ("Vary: *", "Vary: A"),
             ("Vary: A, *",)], ids=str
)  # fmt: skip
async def test_what_is_for_one_reader_in_the_second_line_is_never_stored(
    said: tuple[str, ...], sites: tuple[str, ...]
) -> None:
    for order in permutations(said):
        script = answer(b"data", "CDN: x", "Cache-Control: max-age=60", *order)
        async with RawOrigin(script) as origin, edge_serving(origin, cors_origins=sites) as gateway:
            for _ in range(2):
                told = await gateway.ask(get(TARGET))
                assert told.get("X-Cache") == "MISS"
                if said[0].startswith("Vary"):
                    assert lines(told, "Vary") == ["*"]
            assert len(origin.heard) == 2


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (["max-age=60", "private"], "max-age=60, private"),
        (["", "private"], "private"),
        (["", " "], ""),
        (['a="', 'private, b="'], "a=, private, b="),
        (['a="x, y"', "private"], 'a="x, y", private'),
        (["private"], "private"),
        (['a="'], 'a="'),
    ],
    ids=str,
)
def test_a_joined_line_hides_no_directive(given: list[str], value: str) -> None:
    fields = CIMultiDict([("Cache-Control", one) for one in given])
    join_lines(fields)
    assert fields.getall("Cache-Control") == [value]


@pytest.mark.parametrize(("sites", "more"), [(ALL, ""), (SOME, ", Origin")], ids=str)
async def test_the_gateway_names_by_what_its_own_responses_vary_in_one_line(
    sites: tuple[str, ...], more: str
) -> None:
    async with edge_serving("http://127.0.0.1:9", cors_origins=sites) as gateway:
        for accept, method in product(("text/html", "*/*"), ("GET", "HEAD")):
            told = await gateway.ask(request(method, "/", f"Accept: {accept}"))
            assert lines(told, "Vary") == [f"Accept{more}"]


@pytest.mark.parametrize(
    ("said", "sent_on"),
    [
        ("max-age=60", "max-age=60"),
        ("no-store", "no-store"),
        ("max-age=60, &&&", None),
        ('max-age="60"', None),
        ("", None),
    ],
)
async def test_a_field_for_cdns_is_sent_only_if_it_counts(said: str, sent_on: str | None) -> None:
    script = answer(b"data", f"CDN-Cache-Control: {said}", "Cache-Control: no-store")
    async with RawOrigin(script) as origin, edge_serving(origin) as gateway:
        for _ in range(2):
            told = await gateway.ask(get(TARGET))
            assert told.get("CDN-Cache-Control") == sent_on
            assert told.get("Cache-Control") == "no-store"
