"""The contract of what processes that share a log need to divide work: an owner, and mailboxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.backends.contract import Documents

    # Called with each message, and with None where some may have been missed until now.
    OnMail = Callable[[bytes | None], None]


class DocumentsOwner(NamedTuple):
    """The owner of a log's documents. The number grows with each; the name is "" for nobody."""

    number: int = 0
    name: str = ""


NOBODY = DocumentsOwner()


class Ownership(Protocol):
    """The right of one process to write the documents of a shared log.

    Every method may raise LogUnavailable.
    """

    async def read(self) -> tuple[DocumentsOwner, bool]:
        """Return the present owner, and whether there are any documents."""

    async def acquire(self, expected: DocumentsOwner, name: str) -> DocumentsOwner | None:
        """Become the owner in place of `expected`; return None if somebody else has."""

    async def resign(self, owner: DocumentsOwner) -> None:
        """Leave the documents to others, if they are still this owner's."""

    def documents_of(self, owner: DocumentsOwner) -> Documents:
        """Return the documents as this owner writes them: LogUnavailable once it is no more."""


class Mailboxes(Protocol):
    """The mailboxes of processes that share a log.

    A message is heard at once or never. A parcel lies beside a mailbox for a while, for one taker.
    The `async` methods may raise LogUnavailable.
    """

    def open(self, name: str, on_mail: OnMail) -> None:
        """Have messages to this name notified."""

    def close(self, name: str) -> None:
        """Stop that."""

    async def send(self, name: str, message: bytes) -> bool:
        """Send a message; return whether somebody has heard it."""

    async def send_parcel(self, name: str, key: str, content: bytes, message: bytes) -> bool:
        """Put a parcel down, then send a message; return whether somebody has heard it."""

    async def claim_parcel(self, name: str, key: str) -> bytes | None:
        """Take a parcel away; None if it is not there any more."""
