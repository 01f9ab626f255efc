"""The mark of the console's requests: a secret that nobody else gets to see, or can do without."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.access.bans import Ban
from headgate_gateway.access.principal import CONSOLE
from headgate_gateway.features.console_token import ConsoleToken, console_mark
from headgate_gateway.features.questions.readers import ApplyBans
from headgate_gateway.protocol.http.header_names import CONSOLE_FIELD
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get, post, put, serving

if TYPE_CHECKING:
    from tests.support.serving import Serving

TOKEN = ConsoleToken()
MARK = console_mark(TOKEN.digest)
LINE = f"{CONSOLE_FIELD}: {MARK}"


def marked(gateway: Serving, mark: str = MARK) -> None:
    """Let a gateway know this mark."""
    gateway.server.services = replace(gateway.services, console_mark=mark)


def test_each_run_has_another_mark_which_is_not_the_token() -> None:
    assert TOKEN.marking == {CONSOLE_FIELD: MARK}
    assert ConsoleToken().marking != TOKEN.marking
    assert MARK not in TOKEN.authorization()["Authorization"]


@pytest.mark.parametrize(
    ("known", "lines"),
    [
        pytest.param(MARK, [f"{CONSOLE_FIELD}: x"], id="another-mark"),
        pytest.param(MARK, [f"{CONSOLE_FIELD}:"], id="no-mark"),
        pytest.param(MARK, [f"{CONSOLE_FIELD}: \u00e9"], id="beyond-ascii"),
        pytest.param(MARK, [LINE, LINE], id="twice"),
        pytest.param("", [f"{CONSOLE_FIELD}:"], id="where-there-is-no-console"),
    ],
)
async def test_the_field_is_unknown_from_anybody_but_the_console(
    known: str, lines: list[str]
) -> None:
    async with serving() as gateway:
        marked(gateway, known)
        for request in (get("s?offset=-1", *lines), put("s", *lines), post("s", b"x", *lines)):
            refused = await gateway.ask(request)
            assert refused.status == 400
            assert b"is unknown here" in refused.body
            assert MARK.encode() not in refused.wire
        assert (await gateway.ask(get("s?offset=-1"))).status == 404


async def test_the_mark_is_taken_out_before_anything_is_forwarded_or_remembered() -> None:
    async with RawOrigin(answer(b"x")) as origin, edge_serving(origin) as gateway:
        marked(gateway)
        for number in range(3):
            assert (await gateway.ask(get(f"{EDGE}/s?offset={number}", LINE))).status == 200
            assert (await gateway.ask(post(f"{EDGE}/s", b"x", LINE))).status == 200
        assert len(origin.heard) >= 4
        assert not [it for it in origin.heard if CONSOLE_FIELD in str(it) or MARK in str(it)]
        heads, blocks = gateway.fast.heads, gateway.fast.blocks
        assert heads.find(get(f"{EDGE}/s?offset=0", LINE)) is None
        assert blocks.at(post(f"{EDGE}/s", b"x", LINE), 0) is None


async def test_the_console_is_in_no_list_of_clients_and_no_ban_affects_it() -> None:
    async with serving() as gateway:
        marked(gateway)
        assert (await gateway.ask(put("s", LINE))).status == 201
        assert (await gateway.ask(post("s", b"x", LINE))).status == 204
        assert (await gateway.ask(get("s?offset=-1", LINE))).status == 200
        loudest = gateway.services.loudest
        assert {address for address, _, _ in loudest.counted} == {CONSOLE}
        loudest.look()
        assert not loudest.clients.rows
        now = gateway.clock()
        ban = Ban(kind="address", value="127.0.0.1", at=now, until=now + 60)
        await gateway.inspector.answer(ApplyBans((ban,)))
        for _ in range(3):
            assert (await gateway.ask(post("s", b"x", LINE))).status == 204
        assert (await gateway.ask(post("s", b"x"))).status == 403
