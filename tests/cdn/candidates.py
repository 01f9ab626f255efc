"""What the suite puts to the test: each target's configuration, and what it is known not to do."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from headgate_cdn.options import from_settings
from headgate_cdn.render import render
from headgate_cdn.targets import target
from tests.cdn.edges import Edge
from tests.cdn.findings import Fault
from tests.cdn.origin import STREAMS
from tests.support.ports import free_port
from tests.support.proxy_engines import ENGINES, run_here, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_cdn.options import CredentialMode
    from headgate_cdn.target import Ability
    from headgate_gateway.settings import Settings
    from tests.cdn.origin import HeadgateOrigin
    from tests.support.proxy_engines import Engine

LACKS: dict[Ability, frozenset[Fault]] = {
    "caches": frozenset({Fault.NO_HITS, Fault.NO_TIMING}),
    "compresses": frozenset({Fault.NOT_COMPRESSED}),
    "collapses": frozenset({Fault.NO_COLLAPSE}),
    "collapses-sse": frozenset({Fault.NO_SSE_COLLAPSE}),
    "sorts-query": frozenset({Fault.ORDER_MATTERS}),
    "stale": frozenset({Fault.NO_STALE}),
    "conditional": frozenset({Fault.CONFIRMED_BEHIND}),
}
"""What is no fault of a target that does not say it can."""


class Gateway(Protocol):
    """What a file is rendered for."""

    port: int
    settings: Settings


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target with its options: a column of the table."""

    target: str
    credentials: CredentialMode = "bypass"
    purge: bool = False
    stale_if_error_s: int = 0
    compress_private: bool = False

    def __str__(self) -> str:
        return self.target if self.credentials == "bypass" else f"{self.target}, {self.credentials}"

    @property
    def engine(self) -> Engine:
        return ENGINES[self.target]

    @property
    def abilities(self) -> frozenset[Ability]:
        return target(self.target).abilities

    @property
    def known_faults(self) -> frozenset[Fault]:
        """What it does not do, and does not say it does."""
        return frozenset().union(
            *(faults for ability, faults in LACKS.items() if ability not in self.abilities)
        )

    def files(self, port: int, origin: Gateway) -> dict[str, str]:
        """What `headgate cdn render` makes for the settings of the origin, by file name."""
        whole = run_here(self.target)
        options = from_settings(
            origin.settings,
            upstream=f"127.0.0.1:{origin.port}",
            listen=port,
            credentials=self.credentials,
            purge=self.purge,
            stale_if_error_s=self.stale_if_error_s,
            compress_private=self.compress_private,
            standalone=whole.can_stand_alone,
        )
        targets = (whole, *map(run_here, whole.beside))
        return {one.file_name: render(one, options) for one in targets}


CANDIDATES = tuple(map(Candidate, ENGINES))
PER_CREDENTIAL = tuple(
    Candidate(name, "per-credential")
    for name in ENGINES
    if "per-credential" in target(name).credentials
)

SHARING = tuple(
    Candidate(name, mode)
    for name in ENGINES
    for mode in ("reader-key", "asked")
    if mode in target(name).credentials
)
"""Those that give copies to readers with credentials of whom they know that they may read."""


@contextlib.contextmanager
def edge(candidate: Candidate, origin: HeadgateOrigin, prefix: str = STREAMS) -> Iterator[Edge]:
    """It runs in front of this origin until the block ends."""
    port = free_port()
    with started(candidate.engine, candidate.files(port, origin), port):
        yield Edge(port, origin, candidate.known_faults, prefix)
