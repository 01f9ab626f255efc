"""What is left of a copy's lifetime is sent to an nginx with the rendered file, to nobody else."""

from __future__ import annotations

import pytest

from headgate_gateway.protocol.http.header_names import NGINX_FIELD
from tests.edge.test_headers_that_end_here import REQUESTS, asked, swallow
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get, put

TARGET = f"{EDGE}/s?offset=1"
NGINX = f"{NGINX_FIELD}: 1"
EXPIRES = "X-Accel-Expires"
MINUTE = "Cache-Control: max-age=60"


@pytest.mark.parametrize(
    ("said", "passed_s", "age", "left"),
    [
        ([MINUTE], 0, "0", None),
        ([MINUTE], 15, "15", "45"),
        ([MINUTE, "Age: 10"], 0, "10", "50"),
        ([MINUTE, "Age: 10"], 15, "25", "35"),
        (["cache-control: max-age=60", "age: 10"], 0, "10", "50"),
        (["Cache-Control: max-age=10, s-maxage=60"], 15, "15", "45"),
        (["Cache-Control: no-cache, s-maxage=60", "Age: 10"], 0, "10", "50"),
        ([MINUTE, "CDN-Cache-Control: max-age=90"], 15, "15", "75"),
        ([MINUTE, "Age: 60"], 0, "60", "0"),
        ([MINUTE, "Age: 70"], 0, "70", "0"),
        (["Cache-Control: no-store", "Age: 10"], 0, "10", None),
        (["Age: 10"], 0, "10", None),
    ],
    ids=str,
)
async def test_an_nginx_with_the_rendered_file_gets_what_is_left_of_the_lifetime(
    said: list[str], passed_s: int, age: str, left: str | None
) -> None:
    script = answer(b"data", 'ETag: "t"', *said)
    async with RawOrigin(script) as origin, edge_serving(origin) as gateway:
        if passed_s:
            await gateway.ask(get(TARGET))
            gateway.clock.advance(passed_s)
        ways = {
            "as others": get(TARGET, NGINX),
            "again": get(TARGET, NGINX),
            "by a handler": get(TARGET, NGINX, "X-Request-Id: a"),
            "304": get(TARGET, NGINX, 'If-None-Match: "t"'),
        }
        told = {way: await gateway.ask(wire) for way, wire in ways.items()}
        assert {way: (it.get("Age"), it.get(EXPIRES)) for way, it in told.items()} == dict.fromkeys(
            ways, (age, left)
        )


async def test_nothing_is_left_of_the_lifetime_of_a_stale_copy() -> None:
    stale = answer(b"data", "Cache-Control: max-age=60, stale-while-revalidate=60")
    async with RawOrigin(stale) as origin, edge_serving(origin) as gateway:
        await gateway.ask(get(TARGET))
        gateway.clock.advance(70)
        told = await gateway.ask(get(TARGET, NGINX))
        assert (told.get("X-Cache"), told.get(EXPIRES)) == ("STALE", "0")


async def test_each_kind_of_answer_is_told_to_an_nginx() -> None:
    script = answer(b"data", "Cache-Control: private, max-age=60", "Age: 10")
    async with RawOrigin(script) as origin, edge_serving(origin) as gateway:
        for lines in ((), ("Authorization: a",), ("Cache-Control: only-if-cached",)):
            told = await gateway.ask(get(TARGET, NGINX, *lines))
            assert told.get(EXPIRES) == (None if told.status == 504 else "50"), (lines, told)


async def test_all_others_get_age_and_cache_control_and_no_expiry_for_nginx() -> None:
    script = answer(b"data", "Cache-Control: max-age=60", "Age: 10")
    async with RawOrigin(script) as origin, edge_serving(origin) as gateway:
        for lines in ((), (NGINX,), (), (NGINX,), ("X-Request-Id: a",)):
            told = await gateway.ask(get(TARGET, *lines))
            assert (told.get("Age"), told.get("Cache-Control")) == ("10", "max-age=60")
            assert told.get(EXPIRES) == ("50" if NGINX in lines else None)
        assert gateway.fast.answered
        assert len(origin.heard) == 1


@pytest.mark.parametrize("name", [EXPIRES, EXPIRES.lower()])
@pytest.mark.parametrize(("age", "left"), [("0", []), ("10", ["50"])])
async def test_an_origin_does_not_command_how_long_an_nginx_stores(
    name: str, age: str, left: list[str]
) -> None:
    script = answer(b"data", "Cache-Control: max-age=60", f"Age: {age}", f"{name}: 3600")
    async with RawOrigin(script) as origin, edge_serving(origin) as gateway:
        for lines in ((), (), ("X-Request-Id: a",), ("Authorization: a",)):
            told = await gateway.ask(get(TARGET, NGINX, *lines))
            assert [value for field, value in told.fields if field == EXPIRES.lower()] == left
            assert (await gateway.ask(get(TARGET, *lines))).get(EXPIRES) == "3600"


async def test_a_response_of_an_own_log_has_no_expiry_for_nginx() -> None:
    async with edge_serving("http://127.0.0.1:9") as gateway:
        await gateway.ask(put("s", body=b"data"))
        for _ in range(3):
            told = await gateway.ask(get("s?offset=-1", NGINX))
            assert (told.get("Age"), told.get(EXPIRES)) == ("0", None)
            gateway.clock.advance(2)


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("route", [{}, {"auth": "origin"}], ids=str)
async def test_the_field_of_an_nginx_reaches_no_origin(kind: str, route: dict[str, str]) -> None:
    async with RawOrigin(swallow) as origin, edge_serving(origin, route) as gateway:
        await gateway.ask(get(f"{EDGE}/warm"))
        client = await gateway.connect()
        client.send(asked(kind, NGINX, "Authorization: Bearer a"))
        await client.head()
        assert len(origin.heard) > 1
        assert not [heard for heard in origin.heard if NGINX_FIELD.lower() in heard.named]


async def test_no_copies_differ_by_the_field_of_an_nginx() -> None:
    script = answer(b"data", "Cache-Control: max-age=60", f"Vary: {NGINX_FIELD}")
    async with RawOrigin(script) as origin, edge_serving(origin) as gateway:
        told = [await gateway.ask(get(TARGET, *it)) for it in ((), (NGINX,), (), (NGINX,))]
        assert [it.get("X-Cache") for it in told] == ["MISS", "HIT", "HIT", "HIT"]
        assert len(origin.heard) == 1
