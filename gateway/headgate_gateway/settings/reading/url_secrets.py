"""Secrets in URLs, which others see where a URL is typed."""

from __future__ import annotations

import re

TYPED = (
    "stays in the shell's history, and other users of this machine see it in the list of processes"
)
_URL = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:[^/?#\s]*:[^/?#\s]+@|[^#\s]*[?&](?:(token)|sentinel_password)=.)",
    re.IGNORECASE,
)


def secret_in(url: str) -> str:
    """Return what kind of secret a URL has, `password` or `token`; "" if it has none."""
    found = _URL.match(url)
    if found is None:
        return ""
    return "token" if found[1] else "password"
