"""The settings of a stop."""

from __future__ import annotations

from headgate_gateway.settings.reading.kinds import Seconds
from headgate_gateway.settings.reading.tables import Section, setting
from headgate_gateway.settings.reading.units import HOUR_S


class ShutdownSettings(Section):
    """The settings of how a server stops."""

    grace: Seconds = setting(
        10.0,
        ge=0,
        le=HOUR_S,
        description="How long requests may go on after SIGTERM.",
        reload="yes, for the next stop",
    )
