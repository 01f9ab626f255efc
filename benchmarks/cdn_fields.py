"""What readers get of the fields that an origin sends in two lines."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

from tests.cdn.candidates import CANDIDATES
from tests.cdn.findings import Fault, Finding, finding
from tests.cdn.origin import HeadgateOrigin
from tests.cdn.test_repeated_lines import ROWS, Repeating, faults_of
from tests.support.handler_server import handler_server
from tests.support.ports import free_port
from tests.support.proxy_engines import started

TITLE = f"{2 * len(ROWS)} responses of an origin with a field in two lines"


async def repeated_lines() -> dict[str, Finding]:
    """Return the cells of all targets that run here, by their names."""
    with contextlib.ExitStack() as stack:
        origin_port = stack.enter_context(handler_server(Repeating))
        gateway = HeadgateOrigin(origin_port, 1.0, (), ("*",))
        stack.callback(gateway.close)
        gateway.start()
        ports = [free_port() for _ in CANDIDATES]
        for it, port in zip(CANDIDATES, ports, strict=True):
            stack.enter_context(started(it.engine, it.files(port, gateway), port))
        found = [await asyncio.to_thread(_found, port) for port in ports]
    return dict(zip(map(str, CANDIDATES), found, strict=True))


def _found(port: int) -> Finding:
    """Count the readers that get another one's response, and those that get another variant."""
    faults = [
        fault
        for row in ROWS
        for values in itertools.permutations(row.values)
        for fault in faults_of(port, row, values, sites=False)
    ]
    leaks = sum("of another reader" in it for it in faults)
    variants = sum(" got " in it for it in faults)
    figures = f"{leaks} leaks, {variants} wrong variants"
    return finding(figures, {Fault.MIXED_USERS: bool(leaks or variants)})
