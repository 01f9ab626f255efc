"""The settings of a stop."""

from __future__ import annotations

from gateway.settings.reading.kinds import Seconds
from gateway.settings.reading.tables import Section, setting
from gateway.settings.reading.units import HOUR_S


class ShutdownSettings(Section):
    """The settings of how a server stops."""

    grace: Seconds = setting(
        10.0,
        ge=0,
        le=HOUR_S,
        description="How long requests may go on after SIGTERM.",
        reload="yes, for the next stop",
    )
    # While they are ended, those that come back wait for the next process: so it is short.
    drain_time: Seconds = setting(
        1.5,
        ge=0,
        le=HOUR_S,
        description="Time over which the live readers of a stream are disconnected before a stop, "
        "at least a thousand a second, so that they do not all reconnect at once.",
        reload="yes, for the next stop",
    )
