"""The `after` of a page of a ranked list: the rank of its last row, as text."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from headgate.json_values import NOT_JSON

from gateway.errors import BadRequest

Rank = TypeVar("Rank")

NO_PAGE = "after is not where a page of this order ended"


def encode_after(rank: tuple[object, ...]) -> str:
    """Return a rank as the `after` of the page that ends with it."""
    return msgspec.json.encode(rank).decode()


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
