"""Searches of streams by their names, which people read decoded and URLs have percent-encoded."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from headgate.names import IN_NAMES
from headgate_gateway.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable

# Characters. The cost of a comparison grows with them: 5 ms for the worst pattern and name.
LONGEST_PATTERN = 256


def spoken(name: str) -> str:
    """Return a stream's name percent-decoded, if encoding it again gives the same name."""
    if "%" not in name:
        return name
    plain = unquote(name)
    return plain if quote(plain, IN_NAMES) == name else name


def name_test(contains: str, glob: str) -> Callable[[str], bool] | None:
    """Return a predicate of the names that contain `contains` and match `glob`.

    Returns None if both are empty, since every name fits. A glob matches the whole name: `*` stands
    for any characters, `?` for one, `[ab]` for one of these, and `[*]` for an asterisk. Both are
    compared with a name as it is shown and as its URL has it; case matters. Raises BadRequest for a
    text that is too long.
    """
    for what, text in (("contains", contains), ("glob", glob)):
        if len(text) > LONGEST_PATTERN:
            raise BadRequest(f"{what} may have at most {LONGEST_PATTERN} characters")
    if not contains and not glob:
        return None
    like = re.compile(fnmatch.translate(glob)).match if glob else None

    def fits(text: str) -> bool:
        return contains in text and (like is None or like(text) is not None)

    def test(name: str) -> bool:
        return fits(name) or ("%" in name and fits(spoken(name)))

    return test


def glob_beginning(glob: str) -> str:
    """Return the percent-encoded text that every name begins with which matches a glob."""
    head = re.split(r"[*?[%]", glob, maxsplit=1)[0]
    return quote(head, IN_NAMES)
