"""Changes of a tokens_file, whose comments, order and mode stay: rotations and revocations."""

from __future__ import annotations

from dataclasses import replace as changed
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate_gateway.access.token_findings import rotated_for, unrotated
from headgate_gateway.access.tokens_file import HIGHEST_VERSION, parse_tokens
from headgate_gateway.features.questions.tokens import LONGEST_VALUE
from headgate_gateway.settings.grants import check_pattern
from headgate_gateway.small_files import LARGEST_FILE, read_file, replace
from headgate_gateway.toml_edits import appended, edited_table

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from headgate_gateway.access.token_findings import GuardedRoute
    from headgate_gateway.access.tokens_file import Revocations
    from headgate_gateway.features.questions.tokens import RevocationKind

# Rotations of reader keys


def rotate_file(path: str, streams: str, routes: Sequence[GuardedRoute]) -> int:
    """Rotate the reader keys of streams in the file at a path; return their new version.

    The readers that lose their keys by it are noted. Raises OSError, ValueError as `rotated` does.
    """
    data, version = rotated(path, read_file(path), streams, routes)
    replace(Path(path), data)
    return version


def rotated(
    path: str, data: bytes, streams: str, routes: Sequence[GuardedRoute] = ()
) -> tuple[bytes, int]:
    """Return a tokens_file with the next version for a stream, or for all below a path, and that.

    The revoked readers of `routes` that lose their keys by it are noted in the file.
    Raises ValueError with one sentence for a file that is wrong.
    """
    try:
        check_pattern(streams)
    except ValueError as refusal:
        raise ValueError(f"{streams} {refusal}") from None
    before = parse_tokens(path, data)
    version = before.reader_keys.get(streams, 0) + 1
    if version > HIGHEST_VERSION:
        raise ValueError(f"{path} has the highest version of {streams} already")
    text = _with_entry(data.decode(), "reader_keys", streams, version)
    readers = rotated_for(before, streams, routes)
    if set(readers) != set(before.rotated_for.get(streams, ())):
        text = _with_entry(text, "rotated_for", streams, [*readers])
    return text.encode(), version


def _with_entry(text: str, table: str, key: str, value: object) -> str:
    def change(values: MutableMapping[str, Any]) -> None:
        values.setdefault(table, {})[key] = value

    return edited_table(text, table, change)


# Revocations


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
    def table(self) -> dict[str, object]:
        """The table of the file that makes the revocation."""
        if self.before is None:
            return {self.kind: self.value}
        return {self.kind: self.value, "before": datetime.fromtimestamp(self.before, UTC)}

    @property
    def text(self) -> str:
        """The lines that make the revocation in most files."""
        return appended("", "revoked", self.table).rstrip("\n")


def revoke_in_file(
    path: str, entry: RevocationEntry, routes: Sequence[GuardedRoute]
) -> tuple[str, ...]:
    """Add a revocation to the file at a path; return sentences on caches that still answer.

    Raises OSError, and ValueError as `revoked` does.
    """
    data, warnings = revoked(path, read_file(path), entry, routes)
    replace(Path(path), data)
    return warnings


def revoked(
    path: str, data: bytes, entry: RevocationEntry, routes: Sequence[GuardedRoute] = ()
) -> tuple[bytes, tuple[str, ...]]:
    """Return a tokens_file with one more revocation, and sentences on caches that still answer.

    Raises ValueError with one sentence for a file that is wrong, and for a revocation that changes
    nothing.
    """
    entry.check()
    before = parse_tokens(path, data)
    if entry.kind == "name" and not any(it.name == entry.value for it in before.tokens.values()):
        raise ValueError(f"{path} has no token with the name {entry.value}")
    revocations = _with(before.revocations, entry)
    if revocations == before.revocations:
        raise ValueError(f"{entry.kind} {entry.value} is revoked already")
    added = appended(data.decode(), "revoked", entry.table).encode()
    if len(added) > LARGEST_FILE:
        raise ValueError(f"{path} would be larger than {LARGEST_FILE >> 20} MiB")
    found = unrotated(before._replace(revocations=revocations), routes)
    earlier = {*unrotated(before, routes)}
    return added, tuple(it.sentence for it in found if it not in earlier)


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
