"""The names of the documents in which subscriptions are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.features.subscriptions.storage.documents import Documents

AT_ONCE = 1_000  # documents in one transaction, a few milliseconds of the log's writer

CURSOR, DELIVERY, SUBSCRIPTION = KINDS = "cursor", "delivery", "subscription"


def document_name(kind: str, subscription_id: str, path: str = "") -> str:
    """Return the name of a document of a subscription, or of its link to a stream."""
    name = f"{kind}/{quote(subscription_id, safe='')}"
    return f"{name}/{path}" if path else name


def parts_of(name: str) -> tuple[str, str, str]:
    """Return the kind, the subscription and the stream in the name of a document."""
    kind, _, rest = name.partition("/")
    subscription_id, _, path = rest.partition("/")
    return kind, unquote(subscription_id), path


async def documents_of(documents: Documents, kind: str) -> AsyncIterator[tuple[str, bytes]]:
    """Yield the documents of one kind, by name. Raises LogUnavailable."""
    beginning = after = f"{kind}/"
    while page := await documents.read(after, AT_ONCE):
        for name, body in page:
            if not name.startswith(beginning):
                return
            yield name, body
        after = page[-1][0]


async def stored_number(documents: Documents) -> int:
    """Return how many subscriptions a log has. Raises LogUnavailable."""
    return len([name async for name, _ in documents_of(documents, SUBSCRIPTION)])
