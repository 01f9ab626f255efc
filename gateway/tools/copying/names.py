"""Names of streams from a file or stdin, for servers that have no list of them."""

from __future__ import annotations

import contextlib
import tempfile
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from gateway.errors import BadRequest
from gateway.protocol.http.paths import canonical_path
from gateway.tools.copying.contract import StreamEntry
from gateway.tools.server.target import is_whole_url
from gateway.tools.shell import input as stdin
from gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


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
