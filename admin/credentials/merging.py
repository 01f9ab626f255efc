"""The tokens that several processes report, merged into one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.access.principal import MOST_PLACES
from gateway.features.console.token_page import MOST_SIGNED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.features.questions.tokens import (
        SignedTokenRow,
        TokenPage,
        TokenPlace,
        TokenUse,
    )


def merged(pages: Sequence[TokenPage]) -> TokenPage:
    """Return the page of the first process, with the uses of all.

    All have the same files. One may have read a change some milliseconds before another.
    """
    first = pages[0]
    if len(pages) == 1:
        return first
    uses: dict[str, list[TokenUse]] = {}
    signed: dict[str, list[SignedTokenRow]] = {}
    for page in pages:
        for token in page.tokens:
            uses.setdefault(token.name, []).append(token.use)
        for row in page.signed:
            signed.setdefault(row.account, []).append(row)
    rows = [replace(it[0], use=_sum(row.use for row in it)) for it in signed.values()]
    rows.sort(key=lambda row: -(row.use.used_at or 0.0))
    return replace(
        first,
        tokens=tuple(replace(it, use=_sum(uses[it.name])) for it in first.tokens),
        signed=tuple(rows[:MOST_SIGNED]),
        unknown=sum(page.unknown for page in pages),
    )


def _sum(uses: Iterable[TokenUse]) -> TokenUse:
    """Return the last use with the sums of the refusals, and the newest places of all."""
    listed = [*uses]
    places: dict[tuple[str, str], TokenPlace] = {}
    for place in sorted((it for use in listed for it in use.places), key=lambda it: -it.at):
        places.setdefault((place.address, place.user_agent), place)
    return replace(
        max(listed, key=lambda use: use.used_at or 0.0),
        places=tuple(places.values())[:MOST_PLACES],
        refused=sum(it.refused for it in listed),
        forbidden=sum(it.forbidden for it in listed),
    )


def without_clients(page: TokenPage) -> TokenPage:
    """Return the page without the addresses and user agents that tokens were used from."""
    return replace(
        page,
        tokens=tuple(replace(it, use=_without_client(it.use)) for it in page.tokens),
        signed=tuple(replace(it, use=_without_client(it.use)) for it in page.signed),
    )


def _without_client(use: TokenUse) -> TokenUse:
    return replace(use, places=())
