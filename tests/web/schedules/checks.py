"""What has to hold once a schedule is over."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from headgate_gateway.telemetry import traffic as counted

if TYPE_CHECKING:
    from tests.web.schedules.clients import Client, Final
    from tests.web.schedules.world import World

TIMEOUT_S = 6.0  # the least of those of a client
_TOKEN = re.compile(rb"([st])(\d+)-x*;")


def nothing_is_held(world: World) -> None:
    """No connection, step or place of any kind is left, although nobody has closed anything."""
    for client in world.clients:
        assert client.pipe.is_lost, "the connection is kept for ever"
    limits = world.services.limits
    lives = [route.traffic.live for route in world.routes]
    held = {
        "connections": limits.connections,
        "connections of": limits.connections_of,
        "open": len(world.server.connections),
        "receiving": limits.receiving_bytes,
        "readers": limits.live_readers,
        "feeds": limits.feeds,
        "feeds of": limits.feeds_of,
        "in flight": world.edge.origin.requests.count,
        "appends": world.own.writes.outcomes.pending,
        "append bytes": world.own.writes.outcomes.pending_bytes,
        "steps": [step for step in world.steps if not step.done()],
        "streams": len(world.edge.feeds.table.by_key),
        "live": sum(live.sse.now + live.long_poll.now for live in lives),
        "slow": sum(len(live.slow) for live in lives),
    }
    held = {name: of for name, of in held.items() if of}
    assert not held, held


def nothing_is_pending(world: World) -> None:
    """No task goes on, and no timer is set."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    assert not tasks, f"tasks: {tasks}"
    timers = [timer for timer in world.timers() if not timer.cancelled()]
    assert not timers, f"timers: {timers}"


def answers_hold(world: World) -> None:
    """There is one answer or a cut for each request, in order, counted and logged once."""
    counts = _counts(world)
    told = [0] * len(counted.STATUSES)
    for client in world.clients:
        answers = client.answers()
        for final in answers:
            told[final.status // 100 - 1] += 1
        _each_fits(client, answers)
        _none_is_missing(world, client, answers)
    if world.services.log.enabled:
        assert len(world.lines) == sum(counts), f"{world.lines}, counted {counts}"
    assert all(map(int.__le__, told[:5], counts[:5])), f"told {told}, counted {counts}"
    if not any(client.has_left or client.half_closed for client in world.clients):
        assert counts[:5] == told[:5], f"told {told}, counted {counts}"
    assert sum(counts) <= sum(client.begun() for client in world.clients), counts


def _counts(world: World) -> list[int]:
    """Requests that were counted, by class of status; the last are those that were cut."""
    traffics = [*(route.traffic for route in world.routes), world.services.unrouted]
    return [
        sum(
            traffic.request_count(operation, status)
            for traffic in traffics
            for operation in range(len(counted.OPERATIONS))
        )
        for status in range(len(counted.STATUSES))
    ]


def _each_fits(client: Client, answers: list[Final]) -> None:
    """Every answer is that to its request, and a read has what was acknowledged before it."""
    acknowledged: dict[str, list[bytes]] = {"s": [], "t": []}
    for one, final in zip(client.asked, answers, strict=False):
        if one.id is not None:
            assert final.headers.get("x-request-id") == one.id, (one, final)
        if one.ends:
            assert final.status == 400, (one, final)
        if one.stream is None:
            continue
        mine = acknowledged[one.stream]
        if one.token is not None:
            mine += [one.token] if final.status == 204 else []
        elif final.status == 200 and final.is_whole:
            tokens = _tokens(final.body)
            assert [it for it in tokens if it in mine] == mine, (one, final)


def _tokens(content: bytes) -> list[bytes]:
    """What was appended, piece by piece."""
    tokens = [found[0] for found in _TOKEN.finditer(content)]
    assert b"".join(tokens) == content, content
    return tokens


def _none_is_missing(world: World, client: Client, answers: list[Final]) -> None:
    """Where a request has no answer, there is a reason."""
    unanswered = client.whole()[len(answers) :]
    if not unanswered or client.has_left or client.half_closed:
        return
    if world.is_drained_early or world.origin.cuts or world.waited_s >= TIMEOUT_S / 2:
        return
    assert answers, f"unanswered: {unanswered}"
    last, final = client.asked[len(answers) - 1], answers[-1]
    ends = last.is_last or "events" in last.kind or not final.is_whole or final.says_close
    assert ends, f"unanswered: {unanswered}, behind {final}"


def log_holds(world: World) -> None:
    """What was acknowledged is in the log once, in order."""
    for stream in ("s", "t"):
        tokens = _tokens(world.content(stream))
        assert len(set(tokens)) == len(tokens), f"twice: {tokens}"
        for client in world.clients:
            mine = [
                one.token
                for one, final in zip(client.asked, client.answers(), strict=False)
                if one.stream == stream and one.token is not None and final.status == 204
            ]
            assert [it for it in tokens if it in mine] == mine, (stream, mine, tokens)
