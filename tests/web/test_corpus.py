"""What clients send is answered, counted, logged and traced as it was recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

import pytest

from tests.support.examples import IS_WHOLE
from tests.web.corpus.player import LOGGED, MODES, QUIET
from tests.web.corpus.recordings import Plays, differences, exchanges_of, group_names, recorded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.web.corpus.player import Mode

EXCHANGES = [
    pytest.param(group, name, id=f"{group}: {name}")
    for group in group_names()
    for name in exchanges_of(group)
]
# Every play takes 8 ms: `make torture` plays each exchange in every mode.
LOGGED_OF, EVERY_MODE_OF = (1, 1) if IS_WHOLE else (8, 48)
AGAIN = "if this is meant, record it: python -m tests.web.corpus --record"


@pytest.fixture(scope="module")
def plays() -> Iterator[Plays]:
    with Plays() as player:
        yield player


@pytest.mark.parametrize(("group", "name"), EXCHANGES)
def test_the_responses_to_a_client_equal_the_recorded_ones(
    plays: Plays, group: str, name: str
) -> None:
    then = recorded(group)[name]
    modes = _modes(name)
    found = differences(then, plays.sections(exchanges_of(group)[name], modes), modes)
    assert not found, "\n".join([AGAIN, *found])


def test_every_recording_belongs_to_an_exchange() -> None:
    for group in group_names():
        assert list(recorded(group)) == list(exchanges_of(group))


def _modes(name: str) -> tuple[Mode, ...]:
    chance = crc32(name.encode())
    if chance % EVERY_MODE_OF == 0:
        return MODES
    return (QUIET, LOGGED) if chance % LOGGED_OF == 0 else (QUIET,)
