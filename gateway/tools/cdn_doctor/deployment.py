"""The deployment under examination: what every check works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.tools.cdn_doctor.first_reads import TwoReads
    from gateway.tools.cdn_doctor.gateway_counters import GatewayCounters
    from gateway.tools.cdn_doctor.probe_sender import ProbeSender
    from gateway.tools.cdn_doctor.streams import OwnStreams


@dataclass(frozen=True, slots=True)
class ExaminationOptions:
    """Options of an examination, and facts about the deployment that the caller knows."""

    # Seconds after which the copy of a chunk is looked for once more; 0 for never.
    later_s: float = 0.0
    # The Authorization of a reader that may not write, or None.
    reader: str | None = None
    # The digest that responses of the deployed file should have, or None.
    rendered: str | None = None
    # One or two web origins whose pages may read, or none that are known.
    origins: tuple[str, ...] = ()


DEFAULTS = ExaminationOptions()


@dataclass(frozen=True, slots=True)
class Deployment:
    """A server and what is in front of it; `gateway` is None without its admin listener."""

    asker: ProbeSender
    streams: OwnStreams
    reads: TwoReads
    gateway: GatewayCounters | None
    options: ExaminationOptions = DEFAULTS
