"""The `after` of a page of a ranked list: the rank of its last row, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from headgate.json_values import NOT_JSON
from headgate_gateway.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Rank = TypeVar("Rank")
Row = TypeVar("Row")

NO_PAGE = "after is not where a page of this order ended"


def encode_after(rank: tuple[object, ...]) -> str:
    """Return a rank as the `after` of the page that ends with it."""
    return msgspec.json.encode(rank).decode()


def merged_page(
    rows: Iterable[Row],
    rank: Callable[[Row], tuple[object, ...]],
    limit: int,
    *,
    has_more: bool,
) -> tuple[tuple[Row, ...], str | None]:
    """Return the first of the rows of several pages, and the `after` of the page of them.

    That is None at the end: with no further row here, and unless a page `has_more`.
    """
    ranked = sorted(rows, key=rank)
    shown = tuple(ranked[:limit])
    goes_on = has_more or len(ranked) > limit
    return shown, encode_after(rank(shown[-1])) if shown and goes_on else None


def decode_after(after: str, form: type[Rank]) -> Rank | None:
    """Return the rank in the `after` of a page; None if it is empty, for the first page.

    Raises BadRequest for a text that no page of this order had.
    """
    if not after:
        return None
    try:
        return msgspec.json.decode(after, type=form)
    except NOT_JSON as error:
        raise BadRequest(NO_PAGE) from error
