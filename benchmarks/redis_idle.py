"""What ten thousand followed streams cost while nothing happens in them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.machine import resident_bytes
from benchmarks.redis_events import WAITS, Wait
from benchmarks.redis_log import HeadgateOnRedis
from benchmarks.report import Column, Section, at_most
from benchmarks.rounds import medians
from benchmarks.servers import HeadgateServer
from benchmarks.tools import held, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.rounds import Measured, Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures

STREAMS = 10_000
FOLLOWING_CONNECTIONS = 1


class Held(NamedTuple):
    """What a gateway and its Redis hold at a moment."""

    gateway: int  # bytes
    redis: int
    connections: int
    following: int  # of the connections


def bench(plan: Plan) -> Section:
    """One reader for each stream, on a gateway that has had no others before."""
    found: dict[str, Measured] = {}
    for wait in WAITS:
        servers: list[Callable[[], Server]] = [HeadgateOnRedis, lambda: HeadgateServer("memory:")]
        for label, loads in medians(plan, servers, partial(_measure, wait)).items():
            found.setdefault(label, {}).update(loads)
    ours = found["headgate redis:"]
    return Section(
        title=f"{STREAMS:,} followed streams, one reader each",
        columns=(
            Column("stream_kb", "KB a stream", 2),
            Column("followed_kb", "KB a follower", 2),
            Column("redis_stream_kb", "redis: KB a stream", 2),
            Column("redis_followed_kb", "redis: KB a follower", 2),
            Column("connections", "connections"),
            Column("following", "that follow"),
        ),
        servers=found,
        verdicts=[
            at_most(
                f"{wait.label}: connections to Redis that follow",
                ours[wait.label]["following"],
                FOLLOWING_CONNECTIONS,
                "",
            )
            for wait in WAITS
        ],
    )


def _measure(wait: Wait, server: Server) -> Iterator[tuple[str, Figures]]:
    # What every server needs once, whoever comes, is no stream's cost.
    _follow(server, wait, "first", 100)
    empty, made, followed = _follow(server, wait, "idle", STREAMS)
    yield (
        wait.label,
        {
            "stream_kb": (made.gateway - empty.gateway) / STREAMS / 1000,
            "followed_kb": (followed.gateway - made.gateway) / STREAMS / 1000,
            "redis_stream_kb": (made.redis - empty.redis) / STREAMS / 1000,
            "redis_followed_kb": (followed.redis - made.redis) / STREAMS / 1000,
            "connections": followed.connections,
            "following": followed.following,
        },
    )


def _follow(server: Server, wait: Wait, name: str, streams: int) -> Sequence[Held]:
    """Before the streams, with them, and while each has a reader, whom one event finds there."""
    empty = _held(server)
    server.create_all((f"{name}-{number}" for number in range(streams)), "application/json")
    made = _held(server)
    path = server.append_path(f"{name}-#")
    load = (server.port, streams, streams, 0, server.pid, server.append_port, path)
    more = [server.events_path(f"{name}-#")] if wait.tool == "fanout" else []
    with held(wait.tool, *load, *more) as readers:
        followed = _held(server)
        readers.release()
    return empty, made, followed


def _held(server: Server) -> Held:
    settle(server.pid)
    resident = resident_bytes(server.pid)
    if not isinstance(server, HeadgateOnRedis):
        return Held(resident, 0, 0, 0)
    redis = server.redis.server
    with redis.client() as client:
        ours = client.client_id()
        clients = [it for it in client.client_list() if it["id"] != str(ours)]
    following = [it for it in clients if int(it["sub"]) + int(it["psub"]) + int(it["ssub"])]
    return Held(resident, redis.info("memory")["used_memory"], len(clients), len(following))
