"""Rotation of reader keys: their versions in a tokens_file, and the readers it shuts out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gateway.access.small_files import read_file, replace
from gateway.access.static.rotation_warnings import rotated_for
from gateway.access.static.tokens_file import HIGHEST_VERSION, parse_tokens
from gateway.settings.grants import check_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.access.static.rotation_warnings import KeyedRoute
    from gateway.access.static.tokens_file import TokensFile

_ANY_TABLE = re.compile(r"^\[", re.MULTILINE)


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


def rotate_file(path: str, streams: str, routes: Sequence[KeyedRoute]) -> RotatedTokensFile:
    """Rotate the reader keys of streams in the file at a path, and note the readers it shuts out.

    Raises OSError, and ValueError as `rotated` does.
    """
    file = rotated(path, read_file(path), streams, routes)
    replace(Path(path), file.data)
    return file


def rotated(
    path: str, data: bytes, streams: str, routes: Sequence[KeyedRoute] = ()
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


def _says(path: str, text: bytes, after: TokensFile) -> bool:
    try:
        return parse_tokens(path, text) == after
    except ValueError:
        return False


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
