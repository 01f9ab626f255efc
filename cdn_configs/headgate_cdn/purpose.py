"""The purpose of a configuration in words: its routes, and how their readers sign in."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from headgate_cdn.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headgate_cdn.options import Options

WIDTH = 100  # characters of a line, which all vendors' files may have


def purpose(options: Options) -> str:
    """Return sentences that say for which routes a file is made, and how their readers sign in."""
    parts = []
    if options.own_logs:
        within = [log for log in options.own_logs if log not in options.own_trees]
        other = "no other cookie counts"
        if within:
            other = f"others count below {_listed(within)} alone, where an origin is"
        parts.append(
            f"{_counted('own log', options.own_logs)}: nobody signs in, unless by Authorization, a "
            f"token in the URL or the cookie {RULES.reader_cookie}; {other}"
        )
    if others := options.other_prefixes:
        names = _listed(
            "any cookie" if name.lower() == "cookie" else name for name in options.identity_headers
        )
        known = f"readers sign in by {names}" if names else "nobody signs in"
        parts.append(f"{_counted('origin', others)}: {known}")
    return " ".join(f"Made for {part}." for part in parts)


def lines_of_purpose(options: Options, comment: str) -> str:
    """Return `purpose` as lines that each begin with `comment`, the mark of a comment."""
    lines = textwrap.wrap(
        purpose(options), WIDTH - len(comment) - 1, break_on_hyphens=False, break_long_words=False
    )
    return "".join(f"{comment} {line}\n" for line in lines)


def _counted(kind: str, prefixes: Sequence[str]) -> str:
    which = f"one {kind}" if len(prefixes) == 1 else f"{len(prefixes)} {kind}s"
    return f"{which} at {_listed(prefixes)}"


def _listed(items: Iterable[str]) -> str:
    return ", ".join(items)
