"""Fields by which an origin would command the engine in front of the gateway go no further."""

from __future__ import annotations

import pytest

from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get, post, request

COMMANDS = (
    *("X-Accel-Redirect: /secret", "X-Accel-Limit-Rate: 1", "x-accel-charset: koi8-r"),
    *("X-Sendfile: /etc/passwd", "X-LiteSpeed-Location: /secret", "X-Reproxy-URL: http://other/"),
)
NAMES = {line.partition(":")[0].lower() for line in COMMANDS}


@pytest.mark.parametrize(
    ("buffering", "sent"),
    [([], []), (["no"], ["no"]), (["yes"], []), (["yes", "NO"], ["no"]), (["no", "yes"], ["no"])],
    ids=str,
)
async def test_no_field_of_an_origin_commands_the_engine_in_front(
    buffering: list[str], sent: list[str]
) -> None:
    lines = [*COMMANDS, *(f"X-Accel-Buffering: {it}" for it in buffering), "X-Accel-Expires: 9"]
    target = f"{EDGE}/s?offset=1"
    said = answer(b"data", "Cache-Control: max-age=60", *lines)
    async with RawOrigin(said) as origin, edge_serving(origin) as gateway:
        for wire in (
            *(get(target), get(target), get(target, "X-Request-Id: a"), request("HEAD", target)),
            *(post(target, b"data"), get(target, "Authorization: a")),
        ):
            told = await gateway.ask(wire)
            assert NAMES.isdisjoint(told.headers), told
            assert [value for name, value in told.fields if name == "x-accel-buffering"] == sent
            assert told.get("X-Accel-Expires") == "9"
