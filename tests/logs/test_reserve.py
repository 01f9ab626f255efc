"""The room that is kept for removals: how much there must be for it, and what may use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.logs.sqlite.reserve import RESERVE_BYTES, ROOM_BYTES, Reserve, removes
from tests.faults.disk import small_disk
from tests.logs.contract import appended, created, removed

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(("more", "is_made"), [(-PAGE, False), (0, True), (PAGE, True)])
def test_the_reserve_is_made_only_with_room_for_it_and_for_some_appends(
    more: int, is_made: bool, tmp_path: Path
) -> None:
    with small_disk(tmp_path, str(RESERVE_BYTES + ROOM_BYTES + more)) as place:
        reserve = Reserve(place / "reserve")
        assert reserve.make() == reserve.is_held == is_made
        assert (place / "reserve").exists() == is_made
        assert reserve.release() == is_made
        assert list(place.iterdir()) == []


@pytest.mark.usefixtures("processes")
def test_a_reserve_left_by_a_crash_is_used_again(tmp_path: Path) -> None:
    with small_disk(tmp_path, str(RESERVE_BYTES + ROOM_BYTES)) as place:
        assert Reserve(place / "reserve").make()
        assert Reserve(place / "reserve").make()


def test_only_a_commit_that_removes_and_adds_nothing_may_use_the_reserve() -> None:
    log = MemoryLog()
    new = created(log, "s", b"x")
    closing = appended(new.state, closed=True)
    hidden = appended(new.state, soft_deleted=True)
    assert removes([removed(new.state)])
    assert removes([hidden])
    assert removes([msgspec.structs.replace(appended(new.state, first=1), trims=True)])
    assert removes([removed(new.state), closing])  # as of a fork, with its source
    assert not removes([closing])
    assert not removes([new])
    assert not removes([removed(new.state), new])
    assert not removes([removed(new.state), appended(new.state, b"y")])
    assert not removes([msgspec.structs.replace(new, expected=0)])
    assert not removes([msgspec.structs.replace(appended(new.state, b"y"), trims=True)])
