"""The URLs of streams in the programs of pages, of which each program has its own."""

from __future__ import annotations

import re

PRINTED = re.compile(r"http://127\.0\.0\.1:4437/v1/stream(?:/[\w-]+)?(?=\")")


def with_url(program: str, url: str) -> str:
    """Return a program of a page with this URL in place of the printed one."""
    changed, number = PRINTED.subn(url, program)
    assert number, program
    return changed
