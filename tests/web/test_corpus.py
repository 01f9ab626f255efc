"""What clients send is answered, counted, logged and traced as it was recorded."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

from tests.support.examples import IS_WHOLE
from tests.web.corpus.plays import AGAIN, LOGGED, MODES, QUIET, Mode
from tests.web.corpus.printed import lines_of
from tests.web.corpus.recordings import Plays, differences, exchanges_of, group_names, recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.web.corpus.seen import Seen

EXCHANGES = [
    pytest.param(group, name, id=f"{group}: {name}")
    for group in group_names()
    for name in exchanges_of(group)
]
# Every play takes 8 ms: `make torture` plays each exchange in every mode.
AGAIN_OF, LOGGED_OF, EVERY_MODE_OF = (1, 1, 1) if IS_WHOLE else (4, 8, 48)
ADVICE = "if this is meant, record it: python -m tests.web.corpus --record"


@pytest.fixture(scope="module")
def plays() -> Iterator[Plays]:
    with Plays() as player:
        yield player


@pytest.mark.parametrize(("group", "name"), EXCHANGES)
def test_each_exchange_equals_its_recording(plays: Plays, group: str, name: str) -> None:
    then = recorded(group)[name]
    modes = _modes(name)
    found = differences(then, plays.sections(exchanges_of(group)[name], modes), modes)
    assert not found, "\n".join([ADVICE, *found])


def test_every_recording_belongs_to_an_exchange() -> None:
    for group in group_names():
        assert list(recorded(group)) == list(exchanges_of(group))


CHANGES: dict[str, Callable[[Seen], object]] = {
    "a header is missing": lambda seen: seen.responses[0].head.pop(),
    "a header is added": lambda seen: seen.responses[0].head.append("Vary: Cookie"),
    "a header has another value": lambda seen: _edit(seen, "Cache-Control: ", "Cache-Control: a"),
    "a length is wrong": lambda seen: _edit(seen, "Content-Length: 3", "Content-Length: 4"),
    "a tag is wrong": lambda seen: _edit(seen, "Cache-Tag: ", "Cache-Tag: a"),
    "headers have another order": lambda seen: seen.responses[0].head.insert(
        1, seen.responses[0].head.pop()
    ),
    "the status is another": lambda seen: _edit(seen, "200", "201"),
    "the connection ends": lambda seen: seen.notes.append("< <the connection ends>"),
    "a counter is missing": lambda seen: seen.counted.popitem(),
    "a counter is doubled": lambda seen: seen.counted.update(
        {name: 2 * change for name, change in seen.counted.items() if "requests_total" in name}
    ),
    "a field of the log line is missing": lambda seen: seen.logged[0].popitem(),
    "the log line is missing": lambda seen: seen.logged.clear(),
    "a log line is added": lambda seen: seen.logged.append({"event": "'request'"}),
    "a span has no status": lambda seen: seen.spans.append(seen.spans.pop().partition("{")[0]),
    "the span is missing": lambda seen: seen.spans.clear(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_each_change_of_a_play_is_printed(plays: Plays, change: Callable[[Seen], object]) -> None:
    read = exchanges_of("reads")["a read from the start"]
    seen = plays.seen(read, Mode("both", None, is_logged=True, is_traced=True))
    changed = copy.deepcopy(seen)
    change(changed)
    lines, other = (
        lines_of(one, is_guarded=False, is_logged=True, is_traced=True) for one in (seen, changed)
    )
    assert lines != other
    assert len(lines) < 5, lines


def _edit(seen: Seen, old: str, new: str) -> None:
    head = seen.responses[0].head
    number = next(number for number, line in enumerate(head) if old in line)
    head[number] = head[number].replace(old, new)


def _modes(name: str) -> tuple[Mode, ...]:
    chance = crc32(name.encode())
    if chance % EVERY_MODE_OF == 0:
        return MODES
    if chance % LOGGED_OF == 0:
        return (QUIET, LOGGED)
    return (QUIET, AGAIN) if chance % AGAIN_OF == 1 else (QUIET,)
