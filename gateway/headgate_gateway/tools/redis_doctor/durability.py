"""Rules on durability: the acknowledged appends that a crash or a failover would lose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.tools.redis_doctor.facts import RedisFinding, Topic
from headgate_gateway.tools.shell.amounts import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.tools.redis_doctor.facts import ServerFacts

DISK = Topic("persistence")
COPIES = Topic("replication")
OLD = (
    "An isolated primary then serves reads that may be old for as long as min-replicas-max-lag and "
    "a failover take."
)


def durability(server: ServerFacts) -> Iterator[RedisFinding]:
    """Yield the findings on the disk and the replicas of a server."""
    yield from _disk(server)
    yield from _failing_disk(server)
    yield from _replication(server)


def _disk(server: ServerFacts) -> Iterator[RedisFinding]:
    if _has_file(server):
        yield _file(server)
        yield from _rewriting(server)
    elif server.config.get("save"):
        lost = counted(int(server.info.get("rdb_changes_since_last_save", 0)), "change")
        yield DISK.warning(
            f"Only snapshots are kept (save {server.config['save']}): a crash of Redis loses every "
            f"append since the last one, at this moment {lost}.",
            "Set appendonly yes.",
        )
    elif "save" in server.config:
        yield _nothing(server)
    else:
        yield DISK.note("Whether anything is kept on disk could not be asked.")


def _has_file(server: ServerFacts) -> bool:
    asked = server.config.get("appendonly")
    return asked == "yes" if asked else server.info.get("aof_enabled") == 1


def _file(server: ServerFacts) -> RedisFinding:
    policy = server.config.get("appendfsync")
    if policy == "always":
        return DISK.ok(
            "appendfsync always: an append is on the disk of this server before it is "
            "acknowledged, and neither a crash of Redis nor of its machine loses it.",
        )
    if policy == "everysec":
        return DISK.note(
            "appendfsync everysec: a crash of Redis alone loses nothing while the disk keeps up; "
            "a crash of its machine loses what was acknowledged in the last second or two.",
            "Set appendfsync always where no acknowledged append may be lost.",
        )
    if policy == "no":
        return DISK.warning(
            "appendfsync no: a crash of the machine loses what the kernel had not written yet, "
            "on Linux up to half a minute of acknowledged appends.",
            "Set appendfsync everysec or always.",
        )
    return DISK.note("There is an append-only file; how often it is synced could not be asked.")


def _rewriting(server: ServerFacts) -> Iterator[RedisFinding]:
    if server.config.get("no-appendfsync-on-rewrite") == "yes" and (
        server.config.get("appendfsync") != "no"
    ):
        yield DISK.warning(
            "no-appendfsync-on-rewrite yes: while the file is rewritten or a snapshot is written "
            "nothing is synced, and a crash of the machine loses what was acknowledged meanwhile.",
            "Set no-appendfsync-on-rewrite no.",
        )


def _nothing(server: ServerFacts) -> RedisFinding:
    if server.replicas:
        return DISK.error(
            "Nothing is kept on disk: a restart of this server forgets every stream, and its "
            "replicas copy the empty server when it comes back before one of them is promoted.",
            "Set appendonly yes.",
        )
    return DISK.warning(
        "Nothing is kept on disk: a restart of Redis forgets every stream.",
        "Set appendonly yes, unless the streams may be lost.",
    )


def _failing_disk(server: ServerFacts) -> Iterator[RedisFinding]:
    if server.info.get("aof_last_write_status", "ok") != "ok":
        yield DISK.error(
            "The last write to the append-only file failed: Redis refuses appends until one "
            "succeeds, and the gateways answer them with 503; reads go on.",
            "See its log; the disk may be full.",
        )
    if server.info.get("aof_last_bgrewrite_status", "ok") != "ok":
        yield DISK.warning("The last rewrite of the append-only file failed.", "See its log.")
    snapshots_fail = server.info.get("rdb_last_bgsave_status", "ok") != "ok"
    if snapshots_fail and server.config.get("stop-writes-on-bgsave-error", "yes") == "yes":
        yield DISK.error(
            "The last snapshot failed: with stop-writes-on-bgsave-error yes Redis refuses appends "
            "until one succeeds, and the gateways answer them with 503; reads go on.",
            "See its log; the disk may be full.",
        )


def _replication(server: ServerFacts) -> Iterator[RedisFinding]:
    if server.info.get("role") == "slave":
        of = f"{server.info.get('master_host')}:{server.info.get('master_port')}"
        yield COPIES.error(
            f"This is a replica of {of}: it takes no appends, and the gateways answer 503.",
            "Give the primary's address, or let Sentinel tell it (redis+sentinel://).",
        )
        return
    yield from _waiting(server)
    if server.fails_over:
        yield from _failover(server)
    elif server.replicas:
        yield COPIES.note(
            f"{counted(server.replicas, 'replica')}, and no automatic failover, as far as this URL "
            "tells: when this server fails, somebody has to promote one by hand.",
        )


def _waiting(server: ServerFacts) -> Iterator[RedisFinding]:
    asked = server.route.wait_replicas
    if asked > server.replicas:
        yield COPIES.error(
            f"wait_replicas is {asked}, with {counted(server.replicas, 'replica')} connected: "
            "appends are stored and yet answered with 503.",
            "Add replicas, or lower wait_replicas.",
        )
    elif asked:
        yield COPIES.ok(
            f"wait_replicas {asked}: an append is acknowledged when it is in the memory of {asked} "
            f"of {counted(server.replicas, 'replica')}, too.",
        )


def _failover(server: ServerFacts) -> Iterator[RedisFinding]:
    if not server.replicas:
        yield COPIES.warning(
            "No replica is connected: nothing can replace this server when it fails.",
            "Add a replica.",
        )
        return
    if not server.route.wait_replicas:
        yield COPIES.note(
            "wait_replicas 0: a failover loses the appends that no replica had yet, though they "
            "were acknowledged; usually those of the last milliseconds.",
            "Set wait_replicas = 1 on the route where that matters more than the round trip.",
        )
    yield from _isolated(server)


def _isolated(server: ServerFacts) -> Iterator[RedisFinding]:
    needed = server.config.get("min-replicas-to-write")
    if needed == "0":
        yield COPIES.warning(
            "min-replicas-to-write 0: a primary that is cut off from its replicas goes on "
            "acknowledging appends which are lost when another one has taken its place.",
            "Set min-replicas-to-write 1 and min-replicas-max-lag 10, which bounds that time. "
            f"{OLD}",
        )
    elif needed:
        yield COPIES.note(
            f"min-replicas-to-write {needed}: appends get 503 while fewer replicas follow. {OLD}"
        )
