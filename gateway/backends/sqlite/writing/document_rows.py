"""Small documents beside the streams, each in a row with a checksum."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping

    import apsw


class DocumentRows:
    """The documents in one data file."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def read(self, after: str, limit: int) -> list[tuple[str, bytes]]:
        """Return the first sound documents, of `limit` that follow `after`; log damaged ones.

        A page without any sound document is followed by the next.
        """
        found: list[tuple[str, bytes]] = []
        while not found:
            rows: list[Any] = self._connection.execute(
                "select name, crc, body from documents where name>? order by name limit ?",
                (after, limit),
            ).fetchall()
            if not rows:
                break
            after = rows[-1][0]
            for name, crc, body in rows:
                if crc == checksum(name, body):
                    found.append((name, body))
                else:
                    log.error("log.document_damaged", document=name)
        return found

    def read_one(self, name: str) -> bytes | None:
        """Return a document; None if there is none, or a damaged one, which is logged."""
        rows: list[Any] = self._connection.execute(
            "select crc, body from documents where name=?", (name,)
        ).fetchall()
        for crc, body in rows:
            if crc == checksum(name, body):
                found: bytes = body
                return found
            log.error("log.document_damaged", document=name)
        return None

    def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Store documents, or remove those that are None, in one transaction."""
        connection = self._connection
        removed = [(name,) for name, body in changes.items() if body is None]
        stored = [
            (name, checksum(name, body), body) for name, body in changes.items() if body is not None
        ]
        connection.execute("begin immediate")
        try:
            connection.executemany("delete from documents where name=?", removed)
            connection.executemany(
                "insert into documents values (?, ?, ?) on conflict (name)"
                " do update set crc=excluded.crc, body=excluded.body",
                stored,
            )
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise


def checksum(name: str, body: bytes) -> int:
    """Return the CRC of a document with its name."""
    return zlib.crc32(body, zlib.crc32(name.encode()))
