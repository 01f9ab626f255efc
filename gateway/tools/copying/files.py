"""Files of a copy: names of streams that are read, and the map of offsets that is written."""

from __future__ import annotations

import contextlib
import json
import tempfile
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from gateway.errors import BadRequest
from gateway.protocol.http.paths import canonical_path
from gateway.tools.copying.contract import StreamEntry, name_of
from gateway.tools.server.target import is_whole_url
from gateway.tools.shell import input as stdin
from gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import Self


@contextlib.asynccontextmanager
async def opened_names(path: Path) -> AsyncIterator[IO[bytes]]:
    """Yield a file of names; stdin, `-`, is copied to a temporary file, to be read repeatedly."""
    if str(path) == "-":
        with tempfile.TemporaryFile() as kept:
            async for piece in stdin.pieces():
                kept.write(piece)
            yield kept
        return
    try:
        file = path.open("rb")
    except OSError as cause:
        raise Failed(f"{path} cannot be read: {cause.strerror}") from cause
    with file:
        yield file


async def named_streams(names: IO[bytes], base: str, prefix: str) -> AsyncIterator[StreamEntry]:
    """Yield the streams of a file that begin with `prefix`, from its beginning, line by line.

    A name may also be the whole URL of a stream below `base`, as `headgate ls` prints some.
    """
    names.seek(0)
    for number, line in enumerate(names, 1):
        name = line.strip().decode(errors="surrogateescape")
        if not name:
            continue
        try:
            path = _path_of(name, base)
        except (BadRequest, ValueError) as cause:
            raise Failed(f"line {number} of the names: {cause}") from cause
        if path.startswith(prefix):
            yield StreamEntry(path)


def _path_of(name: str, base: str) -> str:
    if is_whole_url(name):
        if not name.startswith(f"{base}/"):
            raise ValueError(f"the URL does not begin with {base}/")
        path = name.removeprefix(f"{base}/")
    else:
        path = quote(name.strip("/").encode(errors="surrogateescape"), safe="/")
    return canonical_path(f"/{path}").removeprefix("/")


class OffsetMap:
    """A file with a line for each append of a copy; a repeated copy adds to it."""

    def __init__(self, path: Path | None) -> None:
        """Write nothing without a `path`. Raises Failed if the file cannot be written."""
        self._path = path
        self._file = None
        if path is not None:
            try:
                self._file = path.open("a", encoding="utf-8")
            except OSError as cause:
                raise self._failure(path, cause) from cause

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, path: str, source_offset: str, target_offset: str) -> None:
        """Add a line, which is in the file at once: a copy may be killed."""
        if self._file is None or self._path is None:
            return
        line = {"stream": name_of(path), "from": source_offset, "to": target_offset}
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as cause:
            raise self._failure(self._path, cause) from cause

    @staticmethod
    def _failure(path: Path, cause: OSError) -> Failed:
        return Failed(f"{path} cannot be written: {cause.strerror}")
