"""The long runs: `python -m campaigns.faults --kills 1000`, `--memory`, `--raises` and others."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tests.faults.disasters import Failover, SplitBrain
from tests.faults.memory import Load, measure
from tests.faults.redis_failovers import lose_again_and_again, roaming_gateways
from tests.faults.redis_torture import EVERY_WRITE, Kills, Primaries
from tests.faults.redis_torture import torture as torture_redis
from tests.faults.requests_that_fail import KINDS, faults_in, wrong_after
from tests.faults.slow_clients import measure as measure_slow_clients
from tests.faults.tears import tearable
from tests.faults.torture import torture
from tests.support.processes import Headgate
from tests.support.redis_groups import SentinelGroup
from tests.support.redis_servers import redis_server
from tests.workers.own_writes import KEPT, ORIGINS, read_after_appends
from tests.workers.several import several

if TYPE_CHECKING:
    from tests.faults.ledger import Faults
    from tests.faults.redis_torture import Report as RedisReport
    from tests.support.redis_servers import RedisServer

GATEWAYS = 3
LOAD = Load(readers=5000, silent=500, content_bytes=100_000_000)
BOUND_BYTES = 150_000_000
SLOW_CLIENTS = 5000
SLOW_S = 8.0  # of requests of a good client, without them and beside them
SLOW_LEFT_S = 15.0
SLOW_CLIENT_BYTES = 40 << 10  # of memory for each


@click.command()
@click.option("--kills", type=click.IntRange(min=0), default=0, help="Kill a loaded server.")
@click.option("--seed", type=int, help="Repeat an earlier run's choices.")
@click.option("--memory", is_flag=True, help="Measure 5,000 readers, 500 of whom never read.")
@click.option("--redis-kills", type=click.IntRange(min=0), default=0, help="... Redis, gateways.")
@click.option("--failovers", type=click.IntRange(min=0), default=0, help="Lose the last writes.")
@click.option("--raises", is_flag=True, help="Let each call of a request raise.")
@click.option("--slow-clients", is_flag=True, help="Let 5,000 clients be slow.")
@click.option("--own-writes", type=click.IntRange(min=0), default=0, help="Read after appends.")
def main(  # noqa: PLR0913 - one for each option
    kills: int,
    seed: int | None,
    memory: bool,
    redis_kills: int,
    failovers: int,
    raises: bool,
    slow_clients: bool,
    own_writes: int,
) -> None:
    """Run what takes too long for every change; the exit status tells whether it held."""
    held = True
    seed = random.randrange(1 << 32) if seed is None else seed
    with tempfile.TemporaryDirectory(prefix="headgate-faults-") as folder:
        if kills:
            held &= _torture(Path(folder) / "torture", kills, seed)
        if memory:
            held &= _measure(Path(folder))
        if redis_kills:
            held &= _torture_redis(Path(folder) / "redis", redis_kills, seed)
        if failovers:
            held &= _fail_over(Path(folder) / "failovers", failovers, seed)
        if slow_clients:
            held &= _be_slow()
        if own_writes:
            held &= _read_own_writes(Path(folder) / "own-writes", own_writes, seed)
        if raises:
            held &= asyncio.run(_raise_everywhere())
    sys.exit(0 if held else 1)


async def _raise_everywhere() -> bool:
    held = True
    count = 0
    for kind in KINDS:
        faults = await faults_in(kind)
        wrong = await wrong_after(kind, faults)
        count += len(faults)
        click.echo(f"{kind}: {len(faults)} faults, {len(wrong)} that leave something {wrong or ''}")
        held &= not wrong
    click.echo(f"raises: {count} faults")
    return held


def _read_own_writes(folder: Path, reads: int, seed: int) -> bool:
    """Read so often right after appends, through two workers that stop and go on, per origin."""
    held = True
    for kind, origin in ORIGINS.items():
        with origin(folder / kind) as url, several(url, route=KEPT) as server:
            outcome = read_after_appends(server, "/v1/stream/s", reads, seed=seed)
        click.echo(f"own writes before {kind}: {outcome}")
        held &= outcome.old == outcome.partial == 0
    return held


def _be_slow() -> bool:
    """5,000 clients that never end a request, of five kinds."""
    report = measure_slow_clients(SLOW_CLIENTS, SLOW_S)
    click.echo(f"slow clients: {report}")
    return (
        report.left_after_s < SLOW_LEFT_S
        and report.beside.p99_ms < 2 * report.without.p99_ms
        and report.growth_bytes < SLOW_CLIENTS * SLOW_CLIENT_BYTES
        and sum(report.refused.values()) == SLOW_CLIENTS
    )


def _torture(folder: Path, kills: int, seed: int) -> bool:
    click.echo(f"torture: {kills} kills, seed {seed}")
    server = Headgate(f"file:{folder}", environment={"HEADGATE_LIVE__LONG_POLL_TIMEOUT": "2"})
    try:
        report = asyncio.run(torture(server, kills, seed))
    finally:
        server.kill()
    return _tell("torture", report, report.faults, held=not report.faults.total)


def _torture_redis(folder: Path, kills: int, seed: int) -> bool:
    """Kill Redis that often, half of the times in the midst of a write, and gateways as often."""
    wanted = Kills(redis=kills - kills // 2, gateways=kills, tears=kills // 2)
    click.echo(f"redis: {kills} kills of each kind, seed {seed}")

    async def run(url: str, server: RedisServer) -> RedisReport:
        async with Primaries(url, [server], GATEWAYS, seed) as primaries:
            return await torture_redis(primaries, wanted, seed)

    with redis_server(folder, tearable(folder), **EVERY_WRITE) as server:
        report = asyncio.run(run(server.url, server))
    return _tell("redis", report, report.faults, held=report.is_clean())


def _fail_over(folder: Path, failovers: int, seed: int) -> bool:
    """Every fourth one leaves the old primary alive."""
    click.echo(f"failovers: {failovers}, seed {seed}")
    with SentinelGroup(folder) as group, roaming_gateways(group.url, GATEWAYS) as gateways:
        kinds = [
            SplitBrain(group) if turn % 4 == 3 else Failover(group) for turn in range(failovers)
        ]
        report = asyncio.run(lose_again_and_again(kinds, gateways, seed))
    held = not report.faults.total and report.lossy > failovers / 2
    return _tell("failovers", report, report.faults, held=held)


def _tell(name: str, report: object, faults: Faults, *, held: bool) -> bool:
    click.echo(f"{name}: {report}")
    for note in faults.notes:
        click.echo(f"{name}: {note}", err=True)
    return held


def _measure(folder: Path) -> bool:
    click.echo(f"memory: {LOAD}, bound {BOUND_BYTES >> 20}MiB")
    cost = measure(LOAD, folder)
    click.echo(f"memory: {cost}")
    complete = min(cost.live.complete, cost.herd.complete)
    return complete == LOAD.readers - LOAD.silent and cost.growth_bytes < BOUND_BYTES


if __name__ == "__main__":
    main()
