"""The abilities of a shared log by which gateways divide work: an owner, and mailboxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from gateway.backends.contract import Sharing

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.backends.contract import Log
    from gateway.features.beats import Heartbeats
    from gateway.features.subscriptions.storage.documents import Documents

    # Called with each message, and with None where some may have been missed until now.
    OnMail = Callable[[bytes | None], None]


class DocumentsOwner(NamedTuple):
    """The owner of a log's documents. The number grows with each; the name is "" for nobody."""

    number: int = 0
    name: str = ""


NOBODY = DocumentsOwner()


class Ownership(Protocol):
    """The right of one process to write the documents of a shared log.

    An owner is a pair as DocumentsOwner. Every method may raise LogUnavailable.
    """

    async def read(self) -> tuple[tuple[int, str], bool]:
        """Return the present owner, and whether there are any documents."""

    async def acquire(self, expected: tuple[int, str], name: str) -> tuple[int, str] | None:
        """Become the owner in place of `expected`; return None if somebody else has."""

    async def resign(self, owner: tuple[int, str]) -> None:
        """Leave the documents to others, if they are still this owner's."""

    def documents_of(self, owner: tuple[int, str]) -> Documents:
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


@runtime_checkable
class WorkSharing(Sharing, Protocol):
    """The sharing of a log whose gateways divide work."""

    @property
    def heartbeats(self) -> Heartbeats:
        """The beats of the gateways."""

    @property
    def ownership(self) -> Ownership:
        """The ownership of the log's documents."""

    @property
    def mailboxes(self) -> Mailboxes:
        """The mailboxes of the gateways."""


def work_sharing_of(log: Log) -> WorkSharing | None:
    """Return the sharing of a log; None for one that no other process writes."""
    sharing = log.sharing
    if sharing is None:
        return None
    assert isinstance(sharing, WorkSharing), "each kind of log that is shared has all of it"
    return sharing
