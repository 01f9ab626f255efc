"""The page of what was measured: each case at each candidate, as Markdown.

`python -m benchmarks.cdn table` measures everything, which takes minutes, and writes the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

import click

from benchmarks import cdn_fields, cdn_outages
from benchmarks.cdn_outages import APPENDS_S, AWAY_S, FOLLOWERS, POLLERS
from tests.cdn import candidates, patients
from tests.cdn.candidates import CANDIDATES, PER_CREDENTIAL, SHARING
from tests.cdn.cases import CASES, MANY, OF_CREDENTIALS, OF_PATIENTS, OF_SHARING, WHOLE
from tests.cdn.conftest import POLL_S
from tests.cdn.findings import Fault, Finding
from tests.cdn.origin import headgate_origin
from tests.cdn.patients import PATIENTS
from tests.support.processes import ROOT
from tests.support.proxy_engines import ENGINES, release

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.cdn.cases import Case
    from tests.cdn.edges import Edge

PAGE = ROOT / "docs" / "cdn" / "measured.md"
COMMAND = "python -m benchmarks.cdn table"
COMMAND_AWAY = "python -m benchmarks.cdn outages"
NOT_RUN = "–"
Column = dict[str, Finding]
"""By the title of the case."""

_HEAD = """\
# CDN configurations, measured

`{command}` writes this page. It runs each configuration in the server that the
configuration is for, in front of a Headgate whose long-polls last {poll_s:.0f} s. The machine had
{cores} cores, and other work to do. The tests run the same cases. They fail on every fault that is
not a documented limit of the configuration.

- `200 → 1`: 200 readers became one request at the origin.
- `20/30 ms`: half of the readers had their response after 20 ms, all of them after 30 ms. For polls
  and live events this is the time since the append, for other reads the time since the request.
- `3.1 s` for polls that end with 204: the time until the last reader had its response. It includes
  the length of the poll.
- `97% from copies`: of all reads of finished answers, measured at all caches at the same time.
- `for 1.01 of it`: a response that was 17 s old on its arrival ended after 1.01 times its lifetime
  of 20 s.
- `0 leaks, 0 wrong variants`: no reader got a response for another reader, or in another language,
  whatever an HTTP origin sent in two lines, in either order.
- `2 of 2 right`, `0 of 8 wrong`, `apart`: every reader got the response that it should get.
- –: not measured, because 200 readers already show the result.
- **Bold**: something that the configuration does not do, or does wrong. The lists below the tables
  name it.

## Headgate's configurations

"""
_PER_CREDENTIAL = """
## A cached copy for each reader

By default, requests with credentials are passed on to the origin. These configurations can instead
cache a separate copy for each credential, with `--credentials per-credential`. The table has the
cases that this may change.

"""
_SHARING = """
## A cached copy that readers with credentials share

These configurations serve one cached copy to all readers who may read a stream. They know who may
read from a reader key in the query (`--credentials reader-key`), or because they ask Headgate first
(`--credentials asked`).

"""
_PATIENTS = """
## What most guides show

These configurations are copied from common guides. They ran in front of the protocol's reference
server, which sends no cache lifetimes. The files are in `tests/cdn/patients/`. In front of Headgate
they do less harm, because its responses say how long each may be cached, and that SSE must not be
buffered.

"""
_AWAY = f"""
## While the gateway is away

The gateway is killed for {AWAY_S:.0f} s while {FOLLOWERS} SSE readers and {POLLERS} long-polls
follow a stream. Four producers append {APPENDS_S} times a second to it, or as often as the machine
can, and repeat appends that were not acknowledged. Each reader reconnects at its last offset: an
SSE reader as an `EventSource` does, a long-poll after the time in `Retry-After`. `2 ×` is how often
a reader was told to retry: the median of SSE readers, the mean of long-polls. `5.9/7.1 s` is the
longest time without new data, of the median reader and of the worst one. It includes the start of
the gateway. Lost and repeated data is counted over all readers.

Two rows are of two gateways on one Redis: twelve reads, appends, SSE reads and
long-polls each, while one of the gateways does not run, or hangs (SIGSTOP).

The last rows are of one gateway that hangs, by the slowest of many readers. Stale copies are served
with `--stale-if-error`, where there are copies. SSE has the fields of an `EventSource`; what had
begun before is timed from its last bytes on.

`{COMMAND_AWAY}` measures this section alone.

"""


async def page() -> str:
    """Measure everything, one after the other."""
    ours: dict[str, Column] = {}
    apart: dict[str, Column] = {}
    shared: dict[str, Column] = {}
    whole, repeated = await _whole(), await cdn_fields.repeated_lines()
    with headgate_origin(POLL_S) as origin:
        for one in CANDIDATES:
            cases = {**CASES, **MANY} if "collapses" in one.abilities else CASES
            with candidates.edge(one, origin) as edge:
                ours[str(one)] = await _measured(edge, cases) | whole.get(str(one), {})
                ours[str(one)][cdn_fields.TITLE] = repeated[str(one)]
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
            *(
                _table([*CASES, cdn_fields.TITLE, *MANY], ours),
                _faults(ours),
                f"\nThe servers: {releases}.\n",
            ),
            *(_PER_CREDENTIAL, _table(OF_CREDENTIALS, apart), _faults(apart)),
            *(_SHARING, _table(OF_SHARING, shared), _faults(shared)),
            *(_PATIENTS, _table(OF_PATIENTS, theirs), _faults(theirs)),
            await away(),
        ]
    )


async def away() -> str:
    """Measure a gateway that is away, and return that section."""
    return f"{_AWAY}{_lines([['while it is away', *ENGINES], *await cdn_outages.rows()])}"


async def _whole() -> dict[str, Column]:
    """Measure the cases that take minutes, at the same time, where copies could answer at all."""
    caching = [one for one in CANDIDATES if Fault.NO_HITS not in one.known_faults]
    prefixes = [f"/v1/{one.target}" for one in caching]
    with headgate_origin(POLL_S, *prefixes) as origin, contextlib.ExitStack() as stack:
        edges = [
            stack.enter_context(candidates.edge(one, origin, prefix))
            for one, prefix in zip(caching, prefixes, strict=True)
        ]
        columns = await asyncio.gather(*(_measured(edge, WHOLE) for edge in edges))
    return dict(zip(map(str, caching), columns, strict=True))


async def _measured(edge: Edge, cases: Mapping[str, Case]) -> Column:
    return {title: await case(edge) for title, case in cases.items()}


def _table(titles: Iterable[str], columns: Mapping[str, Column]) -> str:
    """Return a table with a row for each case."""
    rows = ([title, *(_cell(column.get(title)) for column in columns.values())] for title in titles)
    return _lines([["case", *columns], *rows])


def _lines(rows: Sequence[Sequence[str]]) -> str:
    """Return a table, whose first row is its head."""
    head, *rest = rows
    whole = [head, ["---"] * len(head), *rest]
    return "".join(f"| {' | '.join(row)} |\n" for row in whole)


def _cell(finding: Finding | None) -> str:
    if finding is None:
        return NOT_RUN
    return f"**{finding.figures}**" if finding.faults else finding.figures


def _faults(columns: Mapping[str, Column]) -> str:
    """List the faults of each, in the order in which faults are declared."""
    lines = []
    for name, column in columns.items():
        found = frozenset[str]().union(*(finding.faults for finding in column.values()))
        told = "; ".join(fault for fault in Fault if fault in found)
        lines.append(f"- **{name}**: {told or 'no faults'}.\n")
    return "\n" + "".join(lines)


@click.group()
def main() -> None:
    """Measure what CDNs do with the configurations."""


@main.command()
def table() -> None:
    """Write docs/cdn/measured.md."""
    PAGE.write_text(asyncio.run(page()))
    click.echo(f"{PAGE} is written")


@main.command()
def outages() -> None:
    """Print what readers see of a gateway that is away: two minutes."""
    click.echo(asyncio.run(away()))


if __name__ == "__main__":
    main()
