"""Configurations as most guides show them, in front of the protocol's reference server.

That server says nothing of lifetimes, so each does what it does by itself. The suite has to find
what is wrong with them: a fault that it does not see there it would not see in ours either.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cdn.edges import Edge
from tests.cdn.findings import Fault
from tests.cdn.origin import STREAMS, Asked, stalled
from tests.support.origin_servers import Reference
from tests.support.ports import free_port
from tests.support.proxy_engines import Nginx, Varnish, Workerd, started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.support.proxy_engines import Engine

FOLDER = Path(__file__).parent


class ReferenceOrigin(Reference):
    """The reference server as an origin of the suite."""

    def __init__(self, poll_s: float) -> None:
        super().__init__(long_poll_s=poll_s)
        self.poll_s = poll_s
        self._numbers = itertools.count()

    def asked(self, route: str | None = None) -> Asked:
        counts = self.counts()
        return Asked(counts.catch_up, counts.long_poll, counts.sse, counts.head)

    def path(self, prefix: str = STREAMS) -> str:
        return f"{prefix}/s{next(self._numbers)}"

    def stalled(self) -> AbstractContextManager[None]:
        assert self._process is not None, "not started"
        return stalled(self._process.pid)


@dataclass(frozen=True, slots=True)
class Patient:
    """A file in this folder, which says ORIGIN and PORT where their ports belong."""

    file: str
    engine: Engine
    faults: frozenset[Fault]

    def __str__(self) -> str:
        return Path(self.file).stem

    def text(self, port: int, origin: int) -> str:
        return (
            (FOLDER / self.file)
            .read_text()
            .replace("ORIGIN", str(origin))
            .replace("PORT", str(port))
        )


PATIENTS = (
    Patient(
        "naive-nginx.conf",
        Nginx(),
        frozenset(
            {
                *(Fault.NO_COLLAPSE, Fault.HOT_LOOP, Fault.ORDER_MATTERS, Fault.HEAD_OLD),
                *(Fault.TAIL_FROZEN, Fault.SSE_HELD_BACK),
            }
        ),
    ),
    Patient(
        "naive-varnish.vcl",
        Varnish(),
        frozenset({Fault.HOT_LOOP, Fault.HEAD_OLD, Fault.TAIL_FROZEN}),
    ),
    Patient(
        "naive-worker.js",
        Workerd(),
        frozenset(
            {
                *(Fault.NO_COLLAPSE, Fault.NO_HITS, Fault.ORDER_MATTERS, Fault.WRITE_LOST),
                Fault.NOT_PASSED,  # without a body an append is refused
            }
        ),
    ),
)
LOCKED = Patient("locked-nginx.conf", Nginx(), frozenset({Fault.SERIALISED, Fault.NO_COLLAPSE}))
"""What becomes of polls that end without news."""


@contextlib.contextmanager
def before(patient: Patient, origin_port: int) -> Iterator[int]:
    """It runs in front of a server until the block ends; its port."""
    port = free_port()
    with started(patient.engine, {patient.file: patient.text(port, origin_port)}, port):
        yield port


@contextlib.contextmanager
def edge(patient: Patient, poll_s: float) -> Iterator[Edge]:
    """It runs in front of the reference server until the block ends."""
    origin = ReferenceOrigin(poll_s)
    try:
        origin.start()
        with before(patient, origin.port) as port:
            yield Edge(port, origin, patient.faults)
    finally:
        origin.kill()
