"""The page of what was measured: each case at each candidate, as Markdown."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.cdn import candidates, outage_table, patients
from tests.cdn.candidates import CANDIDATES, PER_CREDENTIAL, SHARING
from tests.cdn.cases import CASES, MANY, OF_CREDENTIALS, OF_PATIENTS, OF_SHARING
from tests.cdn.conftest import POLL_S
from tests.cdn.engines import ENGINES, release
from tests.cdn.findings import Fault, Finding
from tests.cdn.origin import headgate_origin
from tests.cdn.outage_table import APPENDS_S, AWAY_S, FOLLOWERS, POLLERS
from tests.cdn.patients import PATIENTS
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.cdn.cases import Case
    from tests.cdn.edges import Edge

PAGE = ROOT / "docs" / "cdn" / "measured.md"
COMMAND = "python -m tests.cdn table"
COMMAND_AWAY = "python -m tests.cdn outages"
NOT_RUN = "–"
Column = dict[str, Finding]
"""By the title of the case."""

_HEAD = """\
# CDN configurations, measured

This page is written by `{command}`. Each configuration was run by the
server that it is for, in front of a Headgate whose long-polls last {poll_s:.0f} s. The machine had
{cores} cores, and other work to do. The tests run the same cases, and fail on every fault that a
target does not own up to.

- `200 → 1`: 200 readers became one request at the origin.
- `20/30 ms`: the time until half of the readers had their answer, and until all had it. For polls
  and live events it begins with the append, for other reads with the question.
- `3.1 s` of polls that are ended by 204: when the last reader was answered. The poll's own time is
  in it.
- –: not measured, since it would show what 200 show already.
- **Bold**: what the configuration does not do, or does wrong. The lists below the tables name it.

## Headgate's configurations

"""
_PER_CREDENTIAL = """
## With copies for each reader

Those that can keep readers with credentials apart by the key, instead of passing them on, with
`--credentials per-credential`; the cases in which that may matter.

"""
_SHARING = """
## With copies that readers share

Those that give one copy to readers with credentials, of whom they know that they may read: by a
reader key in the query, or since they ask Headgate first (`--credentials reader-key`, `asked`).

"""
_PATIENTS = """
## What most guides show

The same in front of the protocol's reference server, which says nothing of lifetimes. The files are
in `tests/cdn/patients/`. In front of Headgate they do less harm, since its answers say how long
each may be kept, and that SSE is not to be buffered.

"""
_AWAY = f"""
## While the gateway is away

The gateway is killed for {AWAY_S:.0f} s while {FOLLOWERS} SSE readers and {POLLERS} long-polls
follow a stream. Four producers append {APPENDS_S} times a second to it, or as often as the machine
can, and repeat what was not acknowledged. Each reader goes on at its last offset: an SSE reader as
an `EventSource` does, and a long-poll when `Retry-After` says so. `2 ×` is how often one was told
to ask again. `5.9/7.1 s` is the longest time without news, of half of them and of all; the
gateway's own start is in it. What is lost or comes twice is counted over all readers.
`{COMMAND_AWAY}` measures this section alone.

"""


async def page() -> str:
    """Measure everything, one after the other."""
    ours: dict[str, Column] = {}
    apart: dict[str, Column] = {}
    shared: dict[str, Column] = {}
    with headgate_origin(POLL_S) as origin:
        for one in CANDIDATES:
            cases = {**CASES, **MANY} if "collapses" in one.abilities else CASES
            with candidates.edge(one, origin) as edge:
                ours[str(one)] = await _measured(edge, cases)
        for one in PER_CREDENTIAL:
            with candidates.edge(one, origin) as edge:
                apart[one.target] = await _measured(edge, OF_CREDENTIALS)
        for one in SHARING:
            with candidates.edge(one, origin) as edge:
                shared[str(one)] = await _measured(edge, OF_SHARING)
    theirs: dict[str, Column] = {}
    for patient in PATIENTS:
        with patients.edge(patient, POLL_S) as edge:
            theirs[str(patient)] = await _measured(edge, OF_PATIENTS)
    releases = "; ".join(sorted({release(one.engine) for one in CANDIDATES}))
    return "".join(
        [
            _HEAD.format(command=COMMAND, poll_s=POLL_S, cores=os.cpu_count()),
            *(_table([*CASES, *MANY], ours), _faults(ours), f"\nThe servers: {releases}.\n"),
            *(_PER_CREDENTIAL, _table(OF_CREDENTIALS, apart), _faults(apart)),
            *(_SHARING, _table(OF_SHARING, shared), _faults(shared)),
            *(_PATIENTS, _table(OF_PATIENTS, theirs), _faults(theirs)),
            await away(),
        ]
    )


async def away() -> str:
    """The section about a gateway that is away."""
    return f"{_AWAY}{_lines([['while it is away', *ENGINES], *await outage_table.rows()])}"


async def _measured(edge: Edge, cases: Mapping[str, Case]) -> Column:
    return {title: await case(edge) for title, case in cases.items()}


def _table(titles: Iterable[str], columns: Mapping[str, Column]) -> str:
    """A row for each case."""
    rows = ([title, *(_cell(column.get(title)) for column in columns.values())] for title in titles)
    return _lines([["case", *columns], *rows])


def _lines(rows: Sequence[Sequence[str]]) -> str:
    """A table, whose first row is its head."""
    head, *rest = rows
    whole = [head, ["---"] * len(head), *rest]
    return "".join(f"| {' | '.join(row)} |\n" for row in whole)


def _cell(finding: Finding | None) -> str:
    if finding is None:
        return NOT_RUN
    return f"**{finding.figures}**" if finding.faults else finding.figures


def _faults(columns: Mapping[str, Column]) -> str:
    """What is wrong with each, or not done, in the order in which faults are declared."""
    lines = []
    for name, column in columns.items():
        found = frozenset[str]().union(*(finding.faults for finding in column.values()))
        told = "; ".join(fault for fault in Fault if fault in found)
        lines.append(f"- **{name}**: {told or 'nothing'}.\n")
    return "\n" + "".join(lines)
