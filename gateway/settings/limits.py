"""How clients are told apart, and what one of them may take."""

from __future__ import annotations

from gateway.settings.reading.kinds import Count, Networks, Seconds, Size
from gateway.settings.reading.tables import Table, setting

GIB = 1 << 30


class LimitSettings(Table):
    """Part of the settings. A client is who was authorised, by name, else an address.

    Of an IPv6 address the first 64 bits are one client's. A rate lets through at once what it lets
    through in its time.
    """

    trusted_proxies: Networks = setting(
        (),
        description="Proxies whose word is taken for the addresses of their clients, in "
        "X-Forwarded-For or Forwarded; nobody else's is.",
    )
    # One address alone cannot take the connections of all others. A proxy in front, or a company
    # behind one address, seldom comes near it.
    max_client_connections: Count = setting(
        0,
        ge=0,
        le=10_000_000,
        description="Most connections of one address at once, unless it is a trusted proxy's; "
        "0 means half of max_connections.",
    )
    # A gateway does not know how fast its honest writers are: a token of a model's answer, or a
    # sensor's value, is an append, and a backend writes for all of its users.
    max_client_appends: Count = setting(
        0, ge=0, le=10_000_000, description="Most appends a second of one client; 0 means any."
    )
    max_client_append_bytes: Size = setting(
        0, ge=0, le=GIB, description="Most bytes of appends a second of one client; 0 means any."
    )
    # 28 a second around the clock: two and a half million a day, by one backend or one person.
    max_client_creations: Count = setting(
        100_000,
        ge=0,
        le=100_000_000,
        description="Most requests an hour of one client to create a stream; 0 means any.",
    )
    # Two measurements in a row, so that nobody was served for two seconds: clients would rather
    # come back than wait in a queue that they cannot see. A full collection takes a tenth of it.
    max_loop_lag: Seconds = setting(
        1.0,
        ge=0,
        le=3600,
        description="Lag of the event loop from which on reads that are not cached are refused; "
        "at twice as much live readers, too, at four times writes, too. 0 means never.",
    )

    def client_connection_limit(self, connections: int) -> int:
        """Most connections of one address, of so many in all."""
        return self.max_client_connections or max(1, connections // 2)
