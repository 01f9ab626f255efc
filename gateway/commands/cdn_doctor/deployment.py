"""What every check works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.commands.cdn_doctor.asker import Asker
    from gateway.commands.cdn_doctor.first_reads import TwoReads
    from gateway.commands.cdn_doctor.gateway_counters import GatewayCounters
    from gateway.commands.cdn_doctor.streams import OwnStreams


@dataclass(frozen=True, slots=True)
class Deployment:
    """A server with what lies before it; and the gateway behind it, where that may be asked."""

    asker: Asker
    streams: OwnStreams
    reads: TwoReads
    gateway: GatewayCounters | None
