"""The versions of reader keys in a tokens_file, raised without a change of anything else."""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.access.tokens_file import HIGHEST_VERSION, parse_tokens
from gateway.settings.grants import check_pattern

_TABLE = re.compile(r"^\[reader_keys\][ \t]*(?:#[^\r\n]*)?\r?$", re.MULTILINE)
_ANY_TABLE = re.compile(r"^\[", re.MULTILINE)


class Rotated(NamedTuple):
    """A file's content, and the version in it."""

    data: bytes
    version: int


def rotated(path: str, data: bytes, streams: str) -> Rotated:
    """The content of the file at a path with the next version for a stream, or all below a path.

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
    text = _edited(data.decode(), streams, version).encode()
    after = before._replace(reader_keys={**before.reader_keys, streams: version})
    try:
        is_right = parse_tokens(path, text) == after
    except ValueError:
        is_right = False
    if not is_right:
        raise ValueError(
            f'{path} has its reader_keys in another form: write "{streams}" = {version} there'
        )
    return Rotated(text, version)


def _edited(text: str, streams: str, version: int) -> str:
    line = "\r\n" if "\r\n" in text else "\n"
    entry = f'"{streams}" = {version}{line}'
    table = _TABLE.search(text)
    if table is None:
        end = "" if text.endswith("\n") or not text else line
        return f"{text}{end}{line}[reader_keys]{line}{entry}"
    begin = min(table.end() + 1, len(text))
    following = _ANY_TABLE.search(text, begin)
    end_at = len(text) if following is None else following.start()
    known = re.compile(rf"""^([ \t]*(["']){re.escape(streams)}\2[ \t]*=[ \t]*)\d+""", re.MULTILINE)
    found = known.search(text, begin, end_at)
    if found is None:
        line_end = "" if text[:begin].endswith("\n") else line
        return f"{text[:begin]}{line_end}{entry}{text[begin:]}"
    return f"{text[: found.start()]}{found[1]}{version}{text[found.end() :]}"
