"""Lifetimes over HTTP where a route has a default and a limit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.support.serving import PREFIX, Serving, put, request, serving, serving_with

if TYPE_CHECKING:
    from tests.support.http1 import Answer

MAX = {"default_ttl": 60, "max_ttl": 100}


async def head(gateway: Serving, name: str) -> Answer:
    client = await gateway.connect()
    client.send(request("HEAD", name))
    return await client.answer(to_head=True)


def expires_in(gateway: Serving, seconds: float) -> str:
    """Return the header of a stream that ends so many seconds from now."""
    when = datetime.fromtimestamp(gateway.clock() + seconds, UTC)
    return f"Stream-Expires-At: {when:%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize(
    ("own", "ttl"),
    [
        ({"default_ttl": 60}, "60"),
        ({"max_ttl": 100}, "100"),
        ({"default_ttl": 60, "max_ttl": 100}, "60"),
        ({}, None),
    ],
)
async def test_a_stream_whose_creation_names_no_lifetime_gets_the_default_and_shows_it(
    own: dict[str, int], ttl: str | None
) -> None:
    async with serving(own=own) as gateway:
        assert (await gateway.ask(put("s"))).status == 201
        assert (await head(gateway, "s")).get("Stream-TTL") == ttl
        for _ in range(2):  # the same creation again, and as the stream was described
            assert (await gateway.ask(put("s"))).status == 200
        if ttl is not None:
            assert (await gateway.ask(put("s", f"Stream-TTL: {ttl}"))).status == 200
            gateway.clock.advance(float(ttl))
            gateway.elapsed.advance(float(ttl))
            assert (await head(gateway, "s")).status == 404


@pytest.mark.parametrize("name", ["Stream-TTL", "Stream-Expires-At"])
async def test_a_lifetime_up_to_the_limit_is_accepted_and_a_longer_one_refused(name: str) -> None:
    async with serving(own=MAX) as gateway:
        within, over = (
            f"Stream-TTL: {seconds}" if name == "Stream-TTL" else expires_in(gateway, seconds)
            for seconds in (100, 101)
        )
        assert (await gateway.ask(put("s", within))).status == 201
        assert f"{name}: {(await head(gateway, 's')).get(name)}" == within
        (await gateway.ask(put("t", over))).assert_problem(400, name, "100 seconds at most")
        assert (await head(gateway, "t")).status == 404


async def test_a_fork_has_its_sources_lifetime_and_may_name_no_longer_one() -> None:
    async with serving_with(put("s", "Stream-TTL: 70"), own=MAX) as gateway:
        source = f"Stream-Forked-From: {PREFIX}/s"
        assert (await gateway.ask(put("f", source))).status == 201
        assert (await head(gateway, "f")).get("Stream-TTL") == "70"
        assert (await gateway.ask(put("f", source))).status == 200
        refused = await gateway.ask(put("g", source, "Stream-TTL: 101"))
        refused.assert_problem(400, "100 seconds at most")


async def test_streams_of_a_time_without_limits_keep_their_lifetimes() -> None:
    async with serving() as before:
        await before.ask(put("for-ever"))
        await before.ask(put("long", "Stream-TTL: 1000"))
        async with serving(before.log, own=MAX) as gateway:
            assert (await gateway.ask(put("for-ever"))).status == 200
            assert (await gateway.ask(put("long", "Stream-TTL: 1000"))).status == 200
            assert (await head(gateway, "for-ever")).get("Stream-TTL") is None
            for source, ttl in (("for-ever", "60"), ("long", "60")):
                fork = f"{source}-fork"
                forked = await gateway.ask(put(fork, f"Stream-Forked-From: {PREFIX}/{source}"))
                assert forked.status == 201
                assert (await head(gateway, fork)).get("Stream-TTL") == ttl
