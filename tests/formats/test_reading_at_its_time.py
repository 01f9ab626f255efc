"""What each version has written is read whole at the time at which it was written, too.

Then leases are in force, keys sign, and bans and answers have not ended yet. And an RDB is read, by
a Redis that a gateway of this version connects to.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.formats import seen
from tests.formats.fixtures import VERSIONS, advised, expected, unpack
from tests.formats.going_on import finish
from tests.formats.served import Place, receiving, serving
from tests.formats.test_reading import folders, read_whole, read_whole_and_go_on
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until
from tests.support.wall_clock import WallClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = [
    pytest.mark.parametrize("version", VERSIONS),
    pytest.mark.usefixtures("processes"),
    pytest.mark.timeout(240),  # a busy machine takes ten times as long
]


@contextlib.contextmanager
def loaded(version: str, folder: Path) -> Iterator[Place]:
    """A Redis that has loaded the RDB of a version; its own clock is right."""
    access = unpack(version, "access", folder / "access")
    unpack(version, "redis", folder / "redis")
    with redis_server(folder / "redis") as redis:
        yield Place(f"{redis.url}?prefix=s", f"{redis.url}?prefix=k", access)


def read_at_its_time(place: Place, known: dict[str, Any], clock: Mapping[str, str]) -> None:
    """Read all there was at its time, and finish the work that was under way then."""
    with serving(place, clock) as served:
        read_whole(served, known)
        now = seen.passing(served, known["told"])
        assert seen.differences(known["passing"], now) == []
        finish(served, "pool/ack", known["told"]["pool"], known["told"]["pool"]["token"])
        wake = known["told"]["leased"]
        finish(served, "leased/callback", wake, wake["callback_token"])
        with receiving(place.hook) as receiver:
            wait_until(lambda: "/hook" in receiver.wakes, "the webhook that had failed")
            generation = known["passing"]["wakes"]["hook"]["generation"]
            assert receiver.wakes["/hook"]["generation"] == generation
            wait_until(lambda: not pending(served, "hook"), "the webhook to be acknowledged")
        assert not pending(served, "pool")


def pending(served: Any, name: str) -> int:
    found: int = seen.subscriptions(served)[name]["pending"]
    return found


def clock_of(known: Mapping[str, Any], folder: Path) -> Mapping[str, str]:
    """Return the environment of a clock that shows when the fixture was made."""
    clock = WallClock(folder)
    clock.set(int(known["made at"] - time.time()))  # noqa: TID251 - the servers read it themselves
    return {**clock.environment, "FAKETIME_NO_CACHE": "0"}  # it is not set again


def test_a_data_folder_is_read_at_its_time(version: str, tmp_path: Path) -> None:
    access = unpack(version, "access", tmp_path / "access")
    folder = unpack(version, "folder", tmp_path / "folder")
    known = expected(version)["folder"]
    with advised(version):
        read_at_its_time(folders(folder, access), known, clock_of(known, tmp_path))


def test_a_redis_is_read_at_its_time(version: str, tmp_path: Path) -> None:
    known = expected(version)["redis"]
    with advised(version), loaded(version, tmp_path) as place:
        read_at_its_time(place, known, clock_of(known, tmp_path))


def test_a_redis_is_read_whole_and_goes_on(version: str, tmp_path: Path) -> None:
    with advised(version), loaded(version, tmp_path) as place:
        read_whole_and_go_on(place, expected(version)["redis"])
