"""The settings that limit what one client may use."""

from __future__ import annotations

from gateway.settings.reading.kinds import Count, Networks, Seconds, Size
from gateway.settings.reading.tables import Table, setting

GIB = 1 << 30


class LimitSettings(Table):
    """The limits in the settings.

    A client is a principal by name, or else an address; IPv6 addresses with the same first 64 bits
    are one client. A rate permits a burst as large as its limit for the whole period.
    """

    trusted_proxies: Networks = setting(
        (),
        description="Proxies that are trusted to send the addresses of their clients in "
        "X-Forwarded-For or Forwarded; from others these fields are ignored.",
    )
    # By default one address cannot use up the connections of all others. A proxy in front, or a
    # company behind one address, seldom comes near half of them.
    max_client_connections: Count = setting(
        0,
        ge=0,
        le=10_000_000,
        description="Most connections of one address at once, unless it is a trusted proxy's; "
        "0 means half of max_connections.",
    )
    # No limit by default: a token of a model's answer, or a sensor's value, may be an append, and a
    # backend writes for all of its users.
    max_client_appends: Count = setting(
        0,
        ge=0,
        le=10_000_000,
        description="Most appends of one client in a second; 0 means no limit.",
    )
    max_client_append_bytes: Size = setting(
        0,
        ge=0,
        le=GIB,
        description="Most bytes of one client's appends in a second; 0 means no limit.",
    )
    # 28 a second around the clock: two and a half million a day by one client.
    max_client_creations: Count = setting(
        100_000,
        ge=0,
        le=100_000_000,
        description="Most requests of one client in an hour to create a stream; 0 means no limit.",
    )
    # The lag of two measurements in a row: the loop has served nobody for two seconds. Clients that
    # are refused can retry elsewhere. A full garbage collection takes a tenth of it.
    max_loop_lag: Seconds = setting(
        1.0,
        ge=0,
        le=3600,
        description="Lag of the event loop at which uncached reads are refused; at twice as "
        "much live readers, too, and at four times as much writes, too. 0 means never.",
    )

    def client_connection_limit(self, connections: int) -> int:
        """Return the most connections of one address, out of `connections` in all."""
        return self.max_client_connections or max(1, connections // 2)
