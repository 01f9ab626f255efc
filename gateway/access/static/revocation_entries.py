"""Revocations added to a tokens_file, whose comments, order and mode stay as they are."""

from __future__ import annotations

import json
from dataclasses import replace as changed
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from gateway.access.small_files import LARGEST_FILE, read_file, replace
from gateway.access.static.rotation_warnings import rotation_warnings
from gateway.access.static.tokens_file import parse_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.access.revocations import Revocations
    from gateway.access.static.rotation_warnings import KeyedRoute

RevocationKind = Literal["name", "jti", "sub", "kid"]
LONGEST_VALUE = 1024  # characters, as the file may have them


class RevocationEntry(NamedTuple):
    """A revocation as the file has it.

    With `before` (epoch seconds), a `sub` is revoked for tokens that were issued earlier.
    """

    kind: RevocationKind
    value: str
    before: int | None = None

    def check(self) -> None:
        """Raise ValueError with a sentence if the file cannot have this entry."""
        if not 1 <= len(self.value) <= LONGEST_VALUE or not self.value.isprintable():
            raise ValueError(
                f"{self.kind} must be text of 1 to {LONGEST_VALUE:,} visible characters"
            )
        if self.value != self.value.strip():
            raise ValueError(f"{self.kind} begins or ends with a blank, as no copied value should")
        if self.value.startswith("eyJ") and self.value.count(".") == 2:  # as each JWT begins
            raise ValueError(f"{self.kind} is a whole token: take what its claim {self.kind} says")
        if self.before is not None and self.kind != "sub":
            raise ValueError("before goes only with sub")

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of the file that make the revocation, of an entry that is valid."""
        # Text of JSON is text of TOML, too, as long as all of it is printable.
        entry = ("[[revoked]]", f"{self.kind} = {json.dumps(self.value, ensure_ascii=False)}")
        if self.before is None:
            return entry
        return (*entry, f"before = {datetime.fromtimestamp(self.before, UTC):%Y-%m-%dT%H:%M:%SZ}")


class RevokedTokensFile(NamedTuple):
    """A tokens_file after a revocation: its content, and sentences on caches that still answer."""

    data: bytes
    warnings: tuple[str, ...] = ()


def revoke_in_file(
    path: str, entry: RevocationEntry, routes: Sequence[KeyedRoute]
) -> RevokedTokensFile:
    """Add a revocation to the file at a path. Raises OSError, and ValueError as `revoked` does."""
    file = revoked(path, read_file(path), entry, routes)
    replace(Path(path), file.data)
    return file


def revoked(
    path: str, data: bytes, entry: RevocationEntry, routes: Sequence[KeyedRoute] = ()
) -> RevokedTokensFile:
    """Return a tokens_file with one more revocation at its end.

    Raises ValueError with one sentence for a file that is wrong, or written in another way, and for
    a revocation that changes nothing.
    """
    entry.check()
    before = parse_tokens(path, data)
    if entry.kind == "name" and not any(it.name == entry.value for it in before.tokens.values()):
        raise ValueError(f"{path} has no token with the name {entry.value}")
    revocations = _with(before.revocations, entry)
    if revocations == before.revocations:
        raise ValueError(f"{entry.kind} {entry.value} is revoked already")
    text = data.decode()
    end = "\r\n" if "\r\n" in text else "\n"
    gap = "" if text.endswith("\n") or not text else end
    added = f"{text}{gap}{end}{''.join(f'{line}{end}' for line in entry.lines)}".encode()
    after = before._replace(revocations=revocations)
    try:
        is_right = parse_tokens(path, added) == after
    except ValueError:
        is_right = False
    if not is_right:
        raise ValueError(f"{path} has its revoked tokens in another form: add this there by hand")
    if len(added) > LARGEST_FILE:
        raise ValueError(f"{path} would be larger than {LARGEST_FILE >> 20} MiB")
    found = rotation_warnings(after, routes)
    earlier = {*rotation_warnings(before, routes)}
    return RevokedTokensFile(added, tuple(it.sentence for it in found if it not in earlier))


def _with(revocations: Revocations, entry: RevocationEntry) -> Revocations:
    """Return the revocations and one more."""
    match entry.kind:
        case "name":
            return changed(revocations, names=revocations.names | {entry.value})
        case "jti":
            return changed(revocations, token_ids=revocations.token_ids | {entry.value})
        case "kid":
            return changed(revocations, kids=revocations.kids | {entry.value})
        case "sub":
            before = inf if entry.before is None else float(entry.before)
            latest = max(before, revocations.subjects.get(entry.value, 0.0))
            return changed(revocations, subjects={**revocations.subjects, entry.value: latest})
