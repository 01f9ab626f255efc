"""The names of streams to copy, from a file or stdin."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.http.paths import canonical_path
from headgate_gateway.text_files import unmarked
from headgate_gateway.tools.server.target import is_whole_url
from headgate_gateway.tools.shell import input as stdin
from headgate_gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


async def named_streams(names: Path, base: str, prefix: str) -> AsyncIterator[str]:
    """Yield the paths that a file, or stdin for "-", names and that begin with `prefix`.

    In a line of `headgate ls`, the name is what follows the last tab. A name may also be the whole
    URL of a stream below `base`, as `headgate ls` prints some. Raises Failed.
    """
    number = 0
    async for line in _lines(names):
        number += 1
        try:
            text = unmarked(line) if number == 1 else line
        except ValueError as cause:
            raise Failed(f"the list of names {cause}") from cause
        name = text.strip().rpartition(b"\t")[2].decode(errors="surrogateescape")
        if not name:
            continue
        try:
            path = _path_of(name, base)
        except (BadRequest, ValueError) as cause:
            raise Failed(f"line {number} of the names: {cause}") from cause
        if path.startswith(prefix):
            yield path


async def _lines(names: Path) -> AsyncIterator[bytes]:
    if str(names) == "-":
        async for line in stdin.lines():
            yield line
        return
    try:
        with names.open("rb") as file:
            for line in file:
                yield line
    except OSError as cause:
        raise Failed(f"{names} cannot be read: {cause.strerror}") from cause


def _path_of(name: str, base: str) -> str:
    if is_whole_url(name):
        if not name.startswith(f"{base}/"):
            raise ValueError(f"the URL does not begin with {base}/")
        path = name.removeprefix(f"{base}/")
    else:
        path = quote(name.strip("/").encode(errors="surrogateescape"), safe="/")
    return canonical_path(f"/{path}").removeprefix("/")
