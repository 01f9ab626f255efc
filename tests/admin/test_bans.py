"""The decisions of operators to ban clients: the newest counts, whoever hears of it when."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from headgate_admin.errors import ConsoleError
from headgate_admin.readers import ban_keeper
from headgate_admin.readers.ban_keeper import NAME, BanKeeper, read_bans, write_bans
from headgate_admin.readers.ban_list import KEPT_S, MOST_BANS, BanList, parse_bans
from headgate_gateway.access.bans import Ban
from tests.admin.consoles import NOW, Clock, Switchboard
from tests.support.examples import examples
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

HOUR_S = 3600.0


def ban(value: str, at: float = NOW, lasts_s: float = HOUR_S, **more: Any) -> Ban:
    return Ban(kind="principal", value=value, at=at, until=at + lasts_s, **more)


@pytest.mark.parametrize("seed", range(examples(40)), ids=str)
def test_gateways_agree_whatever_they_hear_in_which_order(seed: int) -> None:
    chance, clock = random.Random(seed), Clock()
    gateways = [BanList(clock) for _ in range(3)]
    newest: dict[str, Ban] = {}
    for number in range(60):
        clock.now += 1.0
        value = chance.choice("abcd")
        made = ban(
            value,
            clock.now,
            chance.choice([0.0, 20.0, HOUR_S]),
            is_lifted=chance.random() < 0.3,
            by=str(number),
        )
        chance.choice(gateways).decide(made)
        newest[value] = made
        if chance.random() < 0.5:
            listening, telling = chance.sample(gateways, 2)
            shuffled = list(telling.decisions)
            chance.shuffle(shuffled)
            listening.merge(shuffled)
    for _ in range(2):
        for listening in gateways:
            for telling in gateways:
                listening.merge(telling.decisions)
    expected = {value: it for value, it in newest.items() if it.is_in_force(clock.now)}
    for gateway in gateways:
        assert {it.value: it for it in gateway.in_force} == expected
    clock.now += HOUR_S + KEPT_S
    assert [gateway.decisions for gateway in gateways] == [()] * 3


def test_a_decision_is_kept_for_a_while_after_its_end_so_that_no_older_one_comes_back() -> None:
    clock = Clock()
    bans, late = BanList(clock), ban("a", NOW - 1)
    bans.decide(ban("a", NOW, 0.0, is_lifted=True))
    assert not bans.merge([late])
    clock.now += KEPT_S - 0.001
    assert not bans.merge([late])
    assert bans.in_force == ()
    clock.now += 0.001
    assert bans.decisions == ()


def test_there_are_at_most_so_many_decisions_and_a_known_client_always_has_room() -> None:
    clock = Clock()
    bans = BanList(clock)
    for number in range(MOST_BANS):
        bans.decide(ban(str(number)))
    with pytest.raises(ConsoleError) as refusal:
        bans.decide(ban("one more"))
    assert refusal.value.status == 409
    assert not bans.merge([ban("one more")])
    bans.decide(ban("7", NOW + 1, is_lifted=True))
    assert len(bans.decisions) == MOST_BANS
    assert len(bans.in_force) == MOST_BANS - 1
    assert not bans.merge([ban("another", lasts_s=0.0)])
    assert bans.merge([ban("one more")]), "in place of the one that is lifted"
    assert len(bans.in_force) == MOST_BANS
    bans.decide(ban("8", NOW + 1, is_lifted=True))
    bans.decide(ban("two more"))
    assert len(bans.in_force) == MOST_BANS
    clock.now += HOUR_S + KEPT_S + 1
    bans.decide(ban("one more", clock.now))
    assert [it.value for it in bans.decisions] == ["one more"]


def test_a_decision_counts_although_the_one_before_was_made_by_a_clock_ahead() -> None:
    here, ahead = BanList(Clock()), BanList(Clock())
    ahead.decide(ban("a", NOW + 30))
    here.merge(ahead.decisions)
    here.decide(ban("a", NOW, is_lifted=True))
    here.merge(ahead.decisions)
    ahead.merge(here.decisions)
    assert here.in_force == ahead.in_force == ()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        b'{"kind": "planet", "value": "a", "at": 1, "until": 2}',
        b'{"kind": "address", "value": "a", "at": 1e999, "until": 2}',
        b'{"kind": "address", "value": "a", "at": "1", "until": 2}',
        b"\xff\xfe",
    ],
    ids=["empty", "no fields", "null", "kind", "endless", "text", "no UTF-8"],
)
def test_what_is_no_ban_is_left_out_of_a_file_and_of_what_others_share(
    line: bytes, tmp_path: Path
) -> None:
    whole = msgspec.json.encode(ban("a"))
    assert [it.value for it in parse_bans([line, whole, line])] == ["a"]
    file = tmp_path / "bans"
    file.write_bytes(b"\n".join([line, whole, line]))
    assert [it.value for it in read_bans(file)] == ["a"]


def test_the_file_has_the_newest_decisions_and_is_for_its_user_alone(tmp_path: Path) -> None:
    file = tmp_path / NAME
    assert read_bans(file) == []
    write_bans(file, [ban("a"), ban("b")])
    write_bans(file, [ban("b")])
    assert [it.value for it in read_bans(file)] == ["b"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert [it.name for it in tmp_path.iterdir()] == ["headgate.bans"]


async def test_decisions_at_once_are_written_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    may_write = threading.Event()

    def traced(file: Path, bans: Iterable[Ban]) -> None:
        steps.append("begins")
        may_write.wait()
        write_bans(file, bans)
        steps.append("ends")

    monkeypatch.setattr(ban_keeper, "write_bans", traced)
    keeper = BanKeeper(Switchboard(), lambda: NOW, tmp_path)
    deciding = [asyncio.create_task(keeper.decide(ban(value))) for value in "abc"]
    await until(lambda: len(keeper.list.decisions) == 3 and bool(steps))
    may_write.set()
    await asyncio.gather(*deciding)
    assert steps == ["begins", "ends"] * (len(steps) // 2)
    assert {it.value for it in read_bans(tmp_path / NAME)} == {*"abc"}
