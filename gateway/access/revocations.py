"""Revocations: of single tokens, of all tokens of a subject, and of all signed by a key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class RevocationClaims(NamedTuple):
    """The claims of a signed token by which it can be revoked; `at` is its iat."""

    kid: str
    token_id: str | None
    subject: str | None
    at: float | None


@dataclass(frozen=True)
class Revocations:
    """The revoked tokens: names of static ones; ids, subjects and keys (`kids`) of signed ones.

    All tokens of a subject that were issued before its moment (epoch seconds) are revoked.
    """

    names: frozenset[str] = frozenset()
    token_ids: frozenset[str] = frozenset()
    kids: frozenset[str] = frozenset()
    subjects: Mapping[str, float] = field(default_factory=dict)

    def hit(self, token: RevocationClaims) -> bool:
        """Return whether a signed token is revoked. A token without iat counts as old."""
        if token.kid in self.kids or token.token_id in self.token_ids:
            return True
        before = None if token.subject is None else self.subjects.get(token.subject)
        return before is not None and (token.at is None or token.at < before)

    def new_since(self, earlier: Revocations) -> list[str]:
        """Return what is revoked here and was not in an earlier file, in words."""
        subjects = self.subjects.items() - earlier.subjects.items()
        return [
            *(f"token {name}" for name in sorted(self.names - earlier.names)),
            *(f"jti {token_id}" for token_id in sorted(self.token_ids - earlier.token_ids)),
            *(f"sub {subject}" for subject, _ in sorted(subjects)),
            *(f"kid {kid}" for kid in sorted(self.kids - earlier.kids)),
        ]


NOTHING = Revocations()
