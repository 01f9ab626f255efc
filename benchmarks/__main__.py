"""`python -m benchmarks [BENCHMARK ...]`: measure, print, and fail when a figure falls short."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from benchmarks import (
    append,
    as_sent,
    authorised,
    bare_handler,
    cache_suite,
    catchup,
    catchup_long,
    console,
    edge_events,
    edge_hits,
    edge_misses,
    edge_passed,
    listing,
    lists,
    longpoll,
    machine,
    many_streams,
    memory,
    models,
    peers,
    redis_appends,
    redis_events,
    redis_idle,
    sse,
    stalls,
    subscriptions,
    tls,
    tools,
    watching,
    ways,
    workers,
)
from benchmarks.report import show, write_json
from benchmarks.rounds import DISTURBED_CORES, QUIET_TIMEOUT_S, TRIES, Plan, tell

BENCHMARKS = {
    "catchup": catchup.bench,
    "catchup-long": catchup_long.bench,
    "authorised": authorised.bench,
    "as-sent": as_sent.bench,
    "bare-handler": bare_handler.bench,
    "append": append.bench,
    "multi-appends": append.bench_multi,
    "many-streams": many_streams.bench,
    "subscriptions": subscriptions.bench,
    "subscriptions-redis": subscriptions.bench_redis,
    "sse": sse.bench,
    "longpoll": longpoll.bench,
    "memory": memory.bench,
    "models-first": models.bench_first,
    "models-at-once": models.bench_at_once,
    "models-memory": models.bench_memory,
    "edge-hits": edge_hits.bench,
    "edge-events": edge_events.bench,
    "edge-misses": edge_misses.bench,
    "edge-appends": edge_passed.bench_appends,
    "edge-reads": edge_passed.bench_reads,
    "redis-appends": redis_appends.bench,
    "redis-durable": redis_appends.bench_durable,
    "redis-gateways": redis_appends.bench_gateways,
    "redis-events": redis_events.bench,
    "redis-idle": redis_idle.bench,
    "listing": listing.bench,
    "lists": lists.bench,
    "workers": workers.bench,
    "stalls": stalls.bench,
    "watching": watching.bench,
    "console": console.bench,
    "tls-reads": tls.bench_reads,
    "tls-idle": tls.bench_idle,
    "tls-handshakes": tls.bench_handshakes,
    "ways": ways.bench,
    "cache-suite": cache_suite.bench,
}
THOROUGH = Plan(rounds=3, milliseconds=4000, every_load=True)
QUICK = Plan(rounds=1, milliseconds=1500, every_load=False)


def main() -> int:
    """0 when every figure is met, 1 when one falls short, 2 when nothing could be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"Each measurement waits up to {QUIET_TIMEOUT_S:g} s for a quiet machine, and says "
        f"so; it is made up to {TRIES} times while something else takes more than "
        f"{DISTURBED_CORES} cores.",
    )
    parser.add_argument(
        "benchmark",
        nargs="*",
        help=f"of {', '.join(BENCHMARKS)}; edge or redis for all of those; everything by default",
    )
    parser.add_argument("--quick", action="store_true", help="one short round, fewer loads")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    asked = arguments.benchmark or list(BENCHMARKS)
    named = {name: [it for it in BENCHMARKS if f"{it}-".startswith(f"{name}-")] for name in asked}
    if unknown := [name for name in asked if not named[name]]:
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    names = dict.fromkeys(it for name in asked for it in named[name])
    # As an exception, so that the servers are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        machine.prepare()
        tools.build()
        facts = {**machine.facts(), **peers.facts()}
        sections = {}
        for name in names:
            tell(f"--- {name}")
            sections[name] = BENCHMARKS[name](QUICK if arguments.quick else THOROUGH)
    except (machine.Unprepared, tools.ToolFailed) as failure:
        tell(str(failure))
        return 2
    show(facts, sections.values())
    if arguments.json:
        write_json(arguments.json, facts, sections)
    are_met = all(it.holds for section in sections.values() for it in section.verdicts)
    return 0 if are_met else 1


if __name__ == "__main__":
    sys.exit(main())
