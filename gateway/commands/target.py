"""Which stream a command means, and with what authorization."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_BASE = "http://127.0.0.1:4437/v1/stream"
BASE_VARIABLE = "STREAM_URL"
AUTHORIZATION_VARIABLE = "STREAM_AUTH"


@dataclass(frozen=True, slots=True)
class Target:
    """A stream's URL, which may hold secrets, and the value of `Authorization`."""

    url: str = field(repr=False)
    authorization: str | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """The URL as it may be printed: without password and query."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    @property
    def path(self) -> str:
        """The path of the URL, as forks name their source."""
        return urlsplit(self.url).path

    def is_beside(self, other: Target) -> bool:
        """Whether both streams are on one server, as a fork and its source have to be."""
        mine, its = urlsplit(self.url), urlsplit(other.url)
        return (mine.scheme, mine.hostname, mine.port) == (its.scheme, its.hostname, its.port)


def resolve(name: str, environment: Mapping[str, str]) -> Target:
    """The stream called `name`: a whole URL, or a name below the base URL."""
    url = name
    if not re.match("https?://", name, re.IGNORECASE):
        _check_name(name)
        base = environment.get(BASE_VARIABLE) or DEFAULT_BASE
        url = f"{base.rstrip('/')}/{quote(name.strip('/'), safe='/')}"
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{BASE_VARIABLE} must be a URL such as {DEFAULT_BASE}")
    if not parts.path.strip("/") or not name.strip("/"):
        raise ValueError(f"a stream has a name, as in {DEFAULT_BASE}/chat")
    target = Target(url, environment.get(AUTHORIZATION_VARIABLE) or None)
    home = environment.get(BASE_VARIABLE)
    # The authorization belongs to the server at the base URL; another one must not learn it.
    return target if not home or target.is_beside(Target(home)) else Target(url)


def _check_name(name: str) -> None:
    """Refuse what was probably meant as a URL; a slash in front makes anything a name."""
    if match := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://|https?:", name, re.IGNORECASE):
        raise ValueError(f"{match[0]} is no way to reach a stream: write http://HOST:PORT/...")
    if re.match(r"([\w.-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}(/|$)", name):
        raise ValueError(
            f"{name!r} looks like a host and a port: write http://{name}, or /{name} for a name"
        )
