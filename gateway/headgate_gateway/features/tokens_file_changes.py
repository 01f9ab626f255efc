"""Changes of a tokens_file, whose comments, order and mode stay: rotations and revocations."""

from __future__ import annotations

from dataclasses import replace as changed
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate_gateway.access.tokens_file import HIGHEST_VERSION, parse_tokens
from headgate_gateway.features.questions.tokens import LONGEST_VALUE
from headgate_gateway.settings.grants import check_pattern
from headgate_gateway.small_files import LARGEST_FILE, read_file, replace
from headgate_gateway.toml_edits import appended, edited_table

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from headgate_gateway.access.tokens_file import Revocations
    from headgate_gateway.features.questions.tokens import RevocationKind

ALL_STREAMS = "/*"  # the pattern

# Rotations of reader keys


def rotate_file(path: str, streams: str) -> int:
    """Rotate the reader keys of streams in the file at a path; return their new version.

    Raises OSError, and ValueError as `rotated` does.
    """
    data, version = rotated(path, read_file(path), streams)
    replace(Path(path), data)
    return version


def rotated(path: str, data: bytes, streams: str) -> tuple[bytes, int]:
    """Return a tokens_file with the next version for a stream, or for all below a path, and that.

    Raises ValueError with one sentence for a file that is wrong.
    """
    try:
        check_pattern(streams)
    except ValueError as refusal:
        raise ValueError(f"{streams} {refusal}") from None
    version = parse_tokens(path, data).reader_keys.get(streams, 0) + 1
    if version > HIGHEST_VERSION:
        raise ValueError(f"{path} has the highest version of {streams} already")

    def change(values: MutableMapping[str, Any]) -> None:
        values.setdefault("reader_keys", {})[streams] = version

    return edited_table(data.decode(), "reader_keys", change).encode(), version


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


def revoke_in_file(path: str, entry: RevocationEntry, *, has_reader_keys: bool) -> None:
    """Add a revocation to the file at a path. Raises OSError, and ValueError as `revoked` does."""
    data = revoked(path, read_file(path), entry, has_reader_keys=has_reader_keys)
    replace(Path(path), data)


def revoked(path: str, data: bytes, entry: RevocationEntry, *, has_reader_keys: bool) -> bytes:
    """Return a tokens_file with one more revocation.

    Where a route has reader keys, the version of all streams is raised, too. The entry changes the
    keys by itself; but without the version they would be the former ones again, which the revoked
    reader knows, once somebody takes the entry out.

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
    if has_reader_keys:
        data, _ = rotated(path, data, ALL_STREAMS)
    added = appended(data.decode(), "revoked", entry.table).encode()
    if len(added) > LARGEST_FILE:
        raise ValueError(f"{path} would be larger than {LARGEST_FILE >> 20} MiB")
    return added


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
