"""Examine the Redis of a route, and print the findings."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from headgate.redis_url import parse_redis
from headgate_gateway.tools.redis_doctor import groups
from headgate_gateway.tools.redis_doctor.access import access
from headgate_gateway.tools.redis_doctor.asking import ServerUnreachable, ask
from headgate_gateway.tools.redis_doctor.durability import durability
from headgate_gateway.tools.redis_doctor.facts import LEVELS, RedisFinding
from headgate_gateway.tools.redis_doctor.memory import memory
from headgate_gateway.tools.shell.amounts import counted
from headgate_gateway.tools.shell.colour import painted
from headgate_gateway.tools.shell.exit_status import DONE, FAILED, UNAVAILABLE
from headgate_gateway.tools.shell.output import filled, note, report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headgate_gateway.settings import Route
    from headgate_gateway.tools.redis_doctor.asking import ExaminedOrigin
    from headgate_gateway.tools.redis_doctor.facts import ServerFacts

MARGIN = 11


@dataclass(frozen=True, slots=True)
class ServerPart:
    """The findings about a server, or about those around it."""

    title: str
    findings: tuple[RedisFinding, ...]


def run(routes: Sequence[Route], *, as_json: bool) -> int:
    """Examine the origins of the routes, print the findings, and return the exit status."""
    status = DONE
    reports = []
    for route in routes:
        try:
            parts = tuple(examine(ask(route)))
        except ServerUnreachable as cause:
            note(f"headgate: {parse_redis(route.storage)} cannot be examined: {cause}.")
            status = UNAVAILABLE
            continue
        reports.append((route, parts))
        if status == DONE and any(it.level == "error" for part in parts for it in part.findings):
            status = FAILED
    if as_json:
        told = [_object(route, parts) for route, parts in reports]
        report(f"{json.dumps(told, ensure_ascii=False)}\n")
    else:
        report("\n".join("".join(_lines(route, parts)) for route, parts in reports), painted)
    return status


def examine(origin: ExaminedOrigin) -> Iterator[ServerPart]:
    """Yield the findings of all rules, by server."""
    if origin.sentinels:
        yield ServerPart("Sentinels", tuple(groups.sentinels(origin.sentinels)))
    if origin.cluster is not None:
        yield ServerPart("Cluster", tuple(groups.cluster(origin.cluster, origin.silent)))
    for server in origin.servers:
        yield ServerPart(f"{server.name} at {server.address}", tuple(_all(server)))


def _all(server: ServerFacts) -> Iterator[RedisFinding]:
    yield from access(server)
    yield from durability(server)
    yield from memory(server)


def _object(route: Route, parts: Sequence[ServerPart]) -> dict[str, object]:
    return {
        "storage": str(parse_redis(route.storage)),
        "parts": [asdict(part) for part in parts],
    }


def _lines(route: Route, parts: Sequence[ServerPart]) -> Iterator[str]:
    yield f"{parse_redis(route.storage)}\n"
    for part in parts:
        yield f"\n{part.title}\n"
        for finding in part.findings:
            words = " ".join(filter(None, (finding.says, finding.advice)))
            yield filled(f"{finding.about}: {words}", f"  {finding.level}", MARGIN) + "\n"
    yield f"\n{_summary(parts)}\n"


def _summary(parts: Sequence[ServerPart]) -> str:
    found = [finding.level for part in parts for finding in part.findings]
    worst_first = [(level, found.count(level)) for level in reversed(LEVELS) if level != "ok"]
    told = [counted(number, level) for level, number in worst_first if number]
    return ", ".join(told) + "." if told else "All is well."
