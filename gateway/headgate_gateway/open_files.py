"""The files that this process may open, as clients, servers and the process itself share them.

Each connection of a client takes a file, and a read that waits for an origin takes another one.
Without shares, readers who wait would take the files of the log, of other origins and providers,
and of the admin listener, and then nobody is answered.
"""

from __future__ import annotations

import resource
from typing import NamedTuple

# A start opens about 30 files, and a log some more; name look-ups and certificates take a few for
# a moment.
OWN = 64
MOST_ADMIN = 256  # 192 pages that listen for events, and requests besides
LEAST_ADMIN = 8  # a scraper, a health check, and a browser, which opens six
ADMIN_SHARE = 16  # one in 16 of the process's descriptors may be an admin connection
# Connections that each origin, provider or other destination always gets; most have fewer at once.
GUARANTEED = 4
# Kept for these guarantees: eight destinations at once, or one in twelve of few files.
MOST_FOR_SERVERS, LEAST_FOR_SERVERS, SERVERS_SHARE = 32, 4, 12
BESIDE_READERS = 16  # connections of clients that wait for nothing, such as writers
UNLIMITED = 1 << 30


def admin_connections(open_files: int) -> int:
    """Return the largest number of admin connections for a process with so many descriptors."""
    if open_files == resource.RLIM_INFINITY:
        return MOST_ADMIN
    return max(LEAST_ADMIN, min(MOST_ADMIN, open_files // ADMIN_SHARE))


class FileShares(NamedTuple):
    """The shares of a process's files: each is a number of connections."""

    room: int  # of clients and to servers, together
    for_servers: int  # of the room, which clients leave
    clients: int
    readers: int  # clients' connections that may wait for news
    crowded: int  # from so many on, together, servers get their guarantee alone

    @classmethod
    def of(cls, open_files: int) -> FileShares:
        """Return the shares of so many files."""
        if open_files == resource.RLIM_INFINITY:
            open_files = UNLIMITED
        room = max(LEAST_ADMIN, open_files - OWN - admin_connections(open_files))
        for_servers = max(LEAST_FOR_SERVERS, min(MOST_FOR_SERVERS, room // SERVERS_SHARE))
        # A read that waits by a guarantee takes a connection on either side.
        beside = 2 * for_servers + BESIDE_READERS
        clients = min(open_files * 9 // 10, room - for_servers)
        readers = max(1, clients - beside)
        crowded = max(1, room - for_servers - beside)
        return cls(room, for_servers, clients, readers, crowded)


class NoFileLeft(Exception):
    """A connection that is not made, because it would take the files of others."""


class SharedFiles:
    """The connections of a process, of its clients for streams and to servers."""

    def __init__(self, open_files: int = UNLIMITED) -> None:
        """Share this number of files."""
        self.limit_to(open_files)
        self.clients = self.servers = 0
        self.refused = 0  # connections to servers that were not made

    def limit_to(self, open_files: int) -> None:
        """Share this number of files from now on."""
        self._shares = FileShares.of(open_files)

    @property
    def takes_no_client(self) -> bool:
        """True if another connection of a client has to be closed again: servers get theirs."""
        return self.clients + self.servers >= self._shares.room - self._shares.for_servers

    @property
    def free_until_crowded(self) -> int:
        """The number of connections until the state that `is_crowded` names; below 0 within it."""
        return self._shares.crowded - 1 - self.clients - self.servers

    @property
    def is_crowded(self) -> bool:
        """True while further connections to servers are made by guarantee alone."""
        return self.free_until_crowded < 0

    def check_server(self, connections: int) -> None:
        """Raise NoFileLeft if a destination with so many `connections` may have no other one.

        Each has as many as are free then, so that one that hangs leaves half to all others.
        """
        free = self._shares.room - self.clients - self.servers
        if free > 0 and connections < (GUARANTEED if self.is_crowded else max(GUARANTEED, free)):
            return
        self.refused += 1
        raise NoFileLeft("as many files are open as may be: open_files is reached")


OPEN_FILES = SharedFiles()  # of this process: the system's limit is the process's, too
