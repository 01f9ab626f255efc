"""Changes of a tokens_file, whose comments, order and mode stay: rotations and revocations."""

from __future__ import annotations

import json
import re
from dataclasses import replace as changed
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from gateway.access.tokens_file import HIGHEST_VERSION, parse_tokens
from gateway.features.token_findings import rotated_for, unrotated
from gateway.settings.grants import check_pattern
from gateway.small_files import LARGEST_FILE, read_file, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.access.tokens_file import Revocations, TokensFile
    from gateway.features.token_findings import GuardedRoute

RevocationKind = Literal["name", "jti", "sub", "kid"]
LONGEST_VALUE = 1024  # characters, as the file may have them
_ANY_TABLE = re.compile(r"^\[", re.MULTILINE)


# Rotations of reader keys


class _Table(NamedTuple):
    name: str
    value: str  # how an entry has it

    @property
    def header(self) -> re.Pattern[str]:
        """The line that begins the table."""
        return re.compile(rf"^\[{self.name}\][ \t]*(?:#[^\r\n]*)?\r?$", re.MULTILINE)


_VERSIONS = _Table("reader_keys", r"\d+")
_READERS = _Table("rotated_for", r"[^\r\n]*")


class RotatedTokensFile(NamedTuple):
    """A tokens_file after a rotation: its content, and the new version of the keys."""

    data: bytes
    version: int
    unnoted: tuple[str, ...] = ()  # revoked readers that could not be written into the file


def rotate_file(path: str, streams: str, routes: Sequence[GuardedRoute]) -> RotatedTokensFile:
    """Rotate the reader keys of streams in the file at a path, and note the readers it shuts out.

    Raises OSError, and ValueError as `rotated` does.
    """
    file = rotated(path, read_file(path), streams, routes)
    replace(Path(path), file.data)
    return file


def rotated(
    path: str, data: bytes, streams: str, routes: Sequence[GuardedRoute] = ()
) -> RotatedTokensFile:
    """Return a tokens_file with the next version for a stream, or for all below a path.

    The revoked readers of `routes` that lose their keys by it are noted in the file.
    Raises ValueError with one sentence for a file that is wrong, or written in another way.
    """
    try:
        check_pattern(streams)
    except ValueError as refusal:
        raise ValueError(f"{streams} {refusal}") from None
    before = parse_tokens(path, data)
    version = before.reader_keys.get(streams, 0) + 1
    if version > HIGHEST_VERSION:
        raise ValueError(f"{path} has the highest version of {streams} already")
    text = _edited(data.decode(), _VERSIONS, streams, str(version)).encode()
    after = before._replace(reader_keys={**before.reader_keys, streams: version})
    if not _says(path, text, after):
        raise ValueError(
            f'{path} has its reader_keys in another form: write "{streams}" = {version} there'
        )
    readers = rotated_for(before, streams, routes)
    if set(readers) == set(before.rotated_for.get(streams, ())):
        return RotatedTokensFile(text, version)
    noted = _edited(text.decode(), _READERS, streams, _array(readers)).encode()
    after = after._replace(rotated_for={**before.rotated_for, streams: readers})
    if _says(path, noted, after):
        return RotatedTokensFile(noted, version)
    # The rotation is made without its note, if that table is written in a form we cannot edit.
    return RotatedTokensFile(text, version, unnoted=readers)


def _array(texts: Iterable[str]) -> str:
    # An array of JSON is one of TOML, where what only JSON escapes by two is written as it is.
    return json.dumps([*texts], ensure_ascii=False)


def _edited(text: str, kind: _Table, streams: str, value: str) -> str:
    """Return the text with a value for the streams in a table, which is made if it is missing."""
    line = "\r\n" if "\r\n" in text else "\n"
    entry = f'"{streams}" = {value}{line}'
    table = kind.header.search(text)
    if table is None:
        end = "" if text.endswith("\n") or not text else line
        return f"{text}{end}{line}[{kind.name}]{line}{entry}"
    begin = min(table.end() + 1, len(text))
    following = _ANY_TABLE.search(text, begin)
    end_at = len(text) if following is None else following.start()
    known = re.compile(
        rf"""^([ \t]*(["']){re.escape(streams)}\2[ \t]*=[ \t]*){kind.value}""", re.MULTILINE
    )
    found = known.search(text, begin, end_at)
    if found is None:
        line_end = "" if text[:begin].endswith("\n") else line
        return f"{text[:begin]}{line_end}{entry}{text[begin:]}"
    return f"{text[: found.start()]}{found[1]}{value}{text[found.end() :]}"


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
    path: str, entry: RevocationEntry, routes: Sequence[GuardedRoute]
) -> RevokedTokensFile:
    """Add a revocation to the file at a path. Raises OSError, and ValueError as `revoked` does."""
    file = revoked(path, read_file(path), entry, routes)
    replace(Path(path), file.data)
    return file


def revoked(
    path: str, data: bytes, entry: RevocationEntry, routes: Sequence[GuardedRoute] = ()
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
    if not _says(path, added, after):
        raise ValueError(f"{path} has its revoked tokens in another form: add this there by hand")
    if len(added) > LARGEST_FILE:
        raise ValueError(f"{path} would be larger than {LARGEST_FILE >> 20} MiB")
    found = unrotated(after, routes)
    earlier = {*unrotated(before, routes)}
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


def _says(path: str, text: bytes, after: TokensFile) -> bool:
    try:
        return parse_tokens(path, text) == after
    except ValueError:
        return False
