"""The deployment under examination: what every check works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.commands.cdn_doctor.first_reads import TwoReads
    from gateway.commands.cdn_doctor.gateway_counters import GatewayCounters
    from gateway.commands.cdn_doctor.probe_sender import ProbeSender
    from gateway.commands.cdn_doctor.streams import OwnStreams


@dataclass(frozen=True, slots=True)
class Deployment:
    """A server with what lies before it; and the gateway behind it, where that may be asked."""

    asker: ProbeSender
    streams: OwnStreams
    reads: TwoReads
    gateway: GatewayCounters | None
    # Seconds after which the copy of a chunk is looked for once more; 0 for never.
    later_s: float = 0.0
    # The Authorization of somebody who may only read, where one was given.
    reader: str | None = None
    # The digest that the answers of the deployed file should have, where one was given.
    rendered: str | None = None
