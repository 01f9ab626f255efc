"""The recordings: a text file for each group, and what differs from them now."""

from __future__ import annotations

import asyncio
import difflib
import importlib
import pkgutil
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import uvloop

from tests.web.corpus import groups
from tests.web.corpus.plays import (
    LOGGED,
    LOGGED_AGAIN,
    MODES,
    QUIET,
    TRACED,
    TRACED_AGAIN,
    cost_of_asking_on,
    play,
)
from tests.web.corpus.printed import lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

    from tests.web.corpus.exchange import Exchange, Stage
    from tests.web.corpus.gateway import Figures
    from tests.web.corpus.plays import Mode
    from tests.web.corpus.seen import Seen

RECORDED = Path(__file__).parent / "recorded"
TITLE = "=== "
# How long one piece of work may take before other work runs, in seconds.
TURNS = (
    "headgate_gateway.later.TURN_S",
    "headgate_gateway.streams.writes.LONGEST_TURN_S",
)
Sections = dict[str, list[str]]  # what each mode shows, by its name
_MARKS = {f"[{mode.name}]": mode.name for mode in MODES}
# What a log or spans change the second time, where that is not what they change the first time.
_AS_FIRST = {LOGGED_AGAIN.name: LOGGED.name, TRACED_AGAIN.name: TRACED.name}


def group_names() -> list[str]:
    """Return the names of all groups."""
    return sorted(module.name for module in pkgutil.iter_modules(groups.__path__))


@cache
def exchanges_of(group: str) -> dict[str, Exchange]:
    """Return the exchanges of a group by their names."""
    module = importlib.import_module(f"tests.web.corpus.groups.{group}")
    found: list[Exchange] = module.EXCHANGES
    named = {one.name: one for one in found}
    assert len(named) == len(found), f"{group} has a name twice"
    return named


class Plays:
    """Plays exchanges, one after the other, on a loop as in production."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._patches = ExitStack()
        self._costs: dict[tuple[int, bool, bool], Figures] = {}
        self._stages: list[Stage] = []  # which keeps their ids

    def __enter__(self) -> Self:
        """Begin; on a busy machine, too, nothing is cut in two because its turn is over.

        A client that leaves has left, however soon after its request.
        """
        self._runner.__enter__()
        for turn in TURNS:
            self._patches.enter_context(patch(turn, 10.0))
        self._patches.enter_context(patch("headgate_gateway.web.connections.requests.FIN_S", -1.0))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()
        self._runner.close()

    def sections(self, exchange: Exchange, modes: Sequence[Mode] = MODES) -> Sections:
        """Play an exchange in these modes, of which the first is `QUIET`; what each shows.

        Other than the first one, a mode has the lines that differ from the mode it is compared
        with, and is left out where there are none.
        """
        seen: dict[str, Seen] = {}
        printed: dict[str, list[str]] = {}
        sections = {}
        for mode in modes:
            if mode.first is not None and not exchange.plays_again:
                continue
            seen[mode.name] = self.seen(exchange, mode)
            first = None if mode.first is None else seen[mode.first]
            lines = lines_of(
                seen[mode.name],
                first,
                is_guarded=exchange.stage.is_guarded,
                is_logged=mode.is_logged,
                is_traced=mode.is_traced,
            )
            printed[mode.name] = lines
            if mode.base is not None:
                lines = list(_changes(printed[mode.base], lines))
            if lines:
                sections[mode.name] = lines
        return sections

    def seen(self, exchange: Exchange, mode: Mode) -> Seen:
        """Play an exchange in a mode; return what can be seen."""
        cost: Figures = {}
        if exchange.asks_on:
            key = (id(exchange.stage), mode.is_logged, mode.is_traced)
            if key not in self._costs:
                self._stages.append(exchange.stage)
                self._costs[key] = self._runner.run(cost_of_asking_on(exchange.stage, mode))
            cost = self._costs[key]
        try:
            return self._runner.run(play(exchange, mode, cost))
        except BaseException as error:
            error.add_note(f"in {exchange.name!r}, {mode.name}")
            raise


def _changes(base: Sequence[str], other: Sequence[str]) -> Iterator[str]:
    for line in difflib.unified_diff(base, other, n=0, lineterm=""):
        if not line.startswith(("---", "+++", "@@")):
            yield line


@cache
def recorded(group: str) -> dict[str, Sections]:
    """Return the recordings of a group by the names of their exchanges."""
    path = RECORDED / f"{group}.txt"
    if not path.exists():
        return {}
    found, exchanges = {}, exchanges_of(group)
    for part in path.read_text().split(f"\n{TITLE}")[1:]:
        name, *lines = part.rstrip("\n").split("\n")
        sections = found[name] = {QUIET.name: list[str]()}
        current = sections[QUIET.name]
        for line in lines:
            if line in _MARKS:
                current = sections[_MARKS[line]] = []
            else:
                current.append(line)
        if name in exchanges and exchanges[name].plays_again:
            for mode, first in _AS_FIRST.items():
                sections.setdefault(mode, sections.get(first, []))
    return found


def write(group: str, exchanges: Mapping[str, Sections]) -> None:
    """Write the recordings of a group."""
    lines = [HEADER]
    for name, sections in exchanges.items():
        lines += [f"{TITLE}{name}", *sections[QUIET.name]]
        for mode in MODES[1:]:
            changes = sections.get(mode.name, [])
            if changes != sections.get(_AS_FIRST.get(mode.name, ""), []):
                lines += [f"[{mode.name}]", *changes]
        lines.append("")
    (RECORDED / f"{group}.txt").write_text("\n".join(lines))


def differences(then: Sections, now: Sections, modes: Sequence[Mode] = MODES) -> list[str]:
    """Return how what is seen in these modes differs from what was recorded."""
    found = []
    for mode in modes:
        old, new = then.get(mode.name, []), now.get(mode.name, [])
        if old != new:
            diff = list(difflib.unified_diff(old, new, "recorded", "now", lineterm=""))
            found += [f"[{mode.name}]", *diff]
    return found


HEADER = """\
Made by `python -m tests.web.corpus --record`. Of each exchange: what is sent (>), what comes (<,
its body after |), and what the origin was asked (origin>). In brackets stands which of the bases in
`bases.txt` a head is closest to; the lines that follow it differ from that base, those with a -
are missing. Then what is counted, logged and traced other than `rule.py` says. All of it first from
a gateway without access log; then what changes with a log, with tracing, and where all steps are
played a second time: there a response to a read that could be cached is expected from the cache.
What a log or tracing changes the second time is left out where that is the same as the first time.
"""
