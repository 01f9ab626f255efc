"""Rules on memory: how long the streams fit, what happens then, and what they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.tools.redis_doctor.facts import RedisFinding, Topic, count, show_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.tools.redis_doctor.facts import ServerFacts

ROOM = Topic("memory")
MIB = 1 << 20
FULL = 0.9
# A child that saves shares the pages that are not written to meanwhile.
SAFE_SHARE = 0.75
# Measured: with 1024 a record of 100 B takes 20 B more, with 512 it takes 42.
SMALL_NODE_BYTES, LARGE_NODE_BYTES = 1024, 64 * 1024
SMALL_NODE_ENTRIES = 10
# Redis takes a block of this much at most for the first record of a stream, however short.
FIRST_BLOCK_BYTES = 4096
MANY = 100
SMALLEST_OUTPUT = 8 * MIB
EVICTION = Topic("eviction")
STREAMS = Topic("streams")


def memory(server: ServerFacts) -> Iterator[RedisFinding]:
    """Yield the findings on eviction, free memory, and the memory of the streams."""
    yield from _eviction(server)
    yield from _room(server)
    yield from _nodes(server)
    yield from _outputs(server)
    yield from _streams(server)


def _eviction(server: ServerFacts) -> Iterator[RedisFinding]:
    policy = server.info.get("maxmemory_policy")
    limit = int(server.info.get("maxmemory", 0))
    if policy == "noeviction":
        yield EVICTION.ok(
            "maxmemory-policy noeviction: a full Redis refuses appends and drops nothing.",
        )
    elif policy:
        when = "as soon as it is full" if limit else "as soon as maxmemory is set"
        yield EVICTION.error(
            f"maxmemory-policy {policy}: {when} Redis deletes keys of streams, and nobody is told.",
            "Set maxmemory-policy noeviction.",
        )


def _room(server: ServerFacts) -> Iterator[RedisFinding]:
    used = int(server.info.get("used_memory", 0))
    limit = int(server.info.get("maxmemory", 0))
    machine = int(server.info.get("total_system_memory", 0))
    if limit:
        policy = server.info.get("maxmemory_policy", "noeviction")
        yield _headroom(used, limit, evicts=policy != "noeviction")
    else:
        yield ROOM.warning(
            f"maxmemory 0: Redis, which has {show_bytes(used)}, grows until the kernel kills it.",
            "Set maxmemory: a full Redis refuses appends (503), and reads go on.",
        )
    if machine and limit > SAFE_SHARE * machine:
        yield ROOM.warning(
            f"maxmemory {show_bytes(limit)} is {limit / machine:.0%} of the machine's memory: "
            "while a snapshot or the append-only file is written, what changes is held twice.",
            f"Leave a quarter free: maxmemory {show_bytes(SAFE_SHARE * machine)} at most.",
        )


def _headroom(used: int, limit: int, *, evicts: bool) -> RedisFinding:
    share = f"{show_bytes(used)} of maxmemory {show_bytes(limit)} ({used / limit:.0%}) are in use"
    if used >= limit:
        return ROOM.error(
            f"{share}: "
            + (
                "keys are deleted."
                if evicts
                else "appends are refused, and the gateways answer 503."
            ),
            "Raise maxmemory, delete streams, or set retention_size or another retention.",
        )
    if used > FULL * limit:
        return ROOM.warning(
            f"{share}: beyond it {'keys are deleted' if evicts else 'appends are refused'}.",
            "Raise maxmemory.",
        )
    return ROOM.ok(f"{share}.")


def _nodes(server: ServerFacts) -> Iterator[RedisFinding]:
    size = server.number("stream-node-max-bytes")
    entries = server.number("stream-node-max-entries")
    if size is None or entries is None:
        return
    about = Topic("stream nodes")
    if (size == 0 or size > LARGE_NODE_BYTES) and not 0 < entries <= 1000:
        yield about.warning(
            f"stream-node-max-bytes {size} and -entries {entries}: records stand in blocks so "
            "long that each append copies, and each read searches, much of one.",
            "Leave them at 4096 and 100.",
        )
    elif 0 < size < SMALL_NODE_BYTES or 0 < entries < SMALL_NODE_ENTRIES:
        yield about.note(
            f"stream-node-max-bytes {size} and -entries {entries}: small blocks, whose overhead "
            "short records pay for with memory.",
            "Set them to 1024 or 4096, and 100.",
        )


def _outputs(server: ServerFacts) -> Iterator[RedisFinding]:
    limits = _output_limits(server.config.get("client-output-buffer-limit", ""))
    about = Topic("slow gateways")
    if limits.get("pubsub") == 0:
        yield about.warning(
            "client-output-buffer-limit pubsub 0: Redis buffers notifications for a gateway that "
            "does not keep up, until its memory is full.",
            "Set client-output-buffer-limit pubsub 32mb 8mb 60.",
        )
    elif 0 < limits.get("pubsub", 0) < SMALLEST_OUTPUT:
        yield about.warning(
            f"client-output-buffer-limit pubsub {show_bytes(limits['pubsub'])}: a gateway with so "
            "much unread is disconnected, and has to read what it missed; a burst can be as large.",
            "Set client-output-buffer-limit pubsub 32mb 8mb 60.",
        )
    elif limits.get("pubsub"):
        yield about.ok(
            f"A gateway with {show_bytes(limits['pubsub'])} of unread notifications is "
            "disconnected, subscribes again, and reads what it missed.",
        )
    if 0 < limits.get("normal", 0) < 8 * SMALLEST_OUTPUT:
        yield about.warning(
            f"client-output-buffer-limit normal {show_bytes(limits['normal'])}: a gateway that "
            "reads several long records at once is cut off.",
            "Set client-output-buffer-limit normal 0 0 0.",
        )


def _output_limits(setting: str) -> dict[str, int]:
    """Return the hard limit of each class of clients: `normal 0 0 0 pubsub 33554432 8388608 60`."""
    words = setting.split()
    return {words[i]: int(words[i + 1]) for i in range(0, len(words) - 3, 4)}


def _streams(server: ServerFacts) -> Iterator[RedisFinding]:
    if server.sample is None:
        yield STREAMS.note("Their memory may not be looked at.")
        return
    sizes = server.sample.sizes
    if not sizes:
        where = "are here" if server.sample.is_all else "were found among the keys looked at"
        yield STREAMS.note(f"No streams {where} yet.")
        return
    used = sorted(size.used for size in sizes)
    commits = sum(size.commits for size in sizes)
    which = "All" if server.sample.is_all else "A sample of"
    each = f", {show_bytes(sum(used) / commits)} a commit" if commits else ""
    yield STREAMS.note(
        f"{which} {count(len(sizes), 'stream')} with {count(commits, 'commit')}: "
        f"{show_bytes(used[len(used) // 2])} a stream in the median, {show_bytes(used[-1])} the "
        f"largest{each}.",
        _smaller_blocks(server, used),
    )


def _smaller_blocks(server: ServerFacts, used: list[int]) -> str:
    """Return the advice for streams that mostly do not fill their first block, or ""."""
    block = min(server.number("stream-node-max-bytes") or FIRST_BLOCK_BYTES, FIRST_BLOCK_BYTES)
    typical = used[len(used) // 2]
    if len(used) < MANY or block <= SMALL_NODE_BYTES or not block < typical < 2 * block:
        return ""
    saved = show_bytes(block - SMALL_NODE_BYTES)
    return f"Most are short: stream-node-max-bytes {SMALL_NODE_BYTES} would save {saved} for each."
