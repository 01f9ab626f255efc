"""People who have nothing in common: what each sends, and what of others must not reach him.

Every field of a request that can hold text holds a mark of who sent it, and each stream marks of
who may read it. Each person has a token, a canary that must never be seen again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

GROUPS = 5
CANARY = "canary"
# By these an origin knows readers besides their tokens; two thirds of the people send one.
SAY_WHO = (
    *("X-Api-Key", "X-Auth-Token", "X-Session-Id", "X-Tenant-Id", "X-Csrf-Token"),
    *("X-Forwarded-User", "Cf-Access-Jwt-Assertion", "X-Amz-Security-Token"),
)
FIRST_CURSOR = 9 * 10**12  # of readers far in the future, each with a million of his own
CURSORS = 10**6
COOKIE = "__Secure-headgate"

_MARKS = re.compile(rf"zq\d+x|zs[a-z]+\d*x|\b9000\d{{9}}\b|{CANARY}-\d+-")


def mark_of_scope(scope: str) -> str:
    """What stands in all data of the streams that those of a scope may read."""
    return f"zs{scope}x"


@dataclass(frozen=True)
class Person:
    """One of them."""

    number: int

    @property
    def mark(self) -> str:
        return f"zq{self.number}x"

    @property
    def token(self) -> str:
        return f"{CANARY}-{self.number}-0123456789abcdef"

    @property
    def scopes(self) -> tuple[str, ...]:
        """Of the streams that he may read."""
        return "all", f"g{self.number % GROUPS}", f"u{self.number}"

    @property
    def says_who(self) -> dict[str, str]:
        if not self.number % 3:
            return {}
        return {SAY_WHO[self.number % len(SAY_WHO)]: self.mark}

    @property
    def cursor(self) -> int:
        return FIRST_CURSOR + self.number * CURSORS

    def fields(self) -> dict[str, str]:
        """Header fields in which the mark is, but for those that say who he is."""
        mark = self.mark
        return {
            "Host": "streams.example",
            "User-Agent": f"{mark}-agent",
            "Accept-Language": mark,
            "Referer": f"http://{mark}.example/",
            "Origin": f"http://{mark}.example",
            "Accept": f"text/{mark}, */*",
            "X-Forwarded-For": mark,
            "X-Forwarded-Host": f"{mark}.example",
            "X-Original-URL": f"/{mark}",
            "X-Custom": mark,
        }

    def leaks(self, text: str) -> set[str]:
        """What stands in an answer to him and is of others, or is anybody's token."""
        own = {self.mark, *(mark_of_scope(one) for one in self.scopes)}
        return {one for one in {*_MARKS.findall(text)} - own if not self._is_own_cursor(one)}

    def _is_own_cursor(self, text: str) -> bool:
        return text.isdigit() and (int(text) - FIRST_CURSOR) // CURSORS == self.number


def scopes_of(people: int) -> list[str]:
    return ["all", *(f"g{n}" for n in range(GROUPS)), *(f"u{n}" for n in range(people))]
