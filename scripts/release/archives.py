"""Archives that have the same bytes whenever and by whomever they are made."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

END = ".tar.gz"


def pack(archive: Path, files: Mapping[str, bytes], moment: int) -> None:
    """Write files by their paths into an archive, below one folder of its name."""
    folder = archive.name.removesuffix(END)
    with (
        archive.open("wb") as written,
        # Without a name and a time, which its head would have otherwise.
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=written, mtime=0) as compressed,
        tarfile.open(mode="w", fileobj=compressed, format=tarfile.PAX_FORMAT) as opened,
    ):
        for path, content in sorted(files.items()):
            member = tarfile.TarInfo(f"{folder}/{path}")
            member.size, member.mtime = len(content), moment
            opened.addfile(member, io.BytesIO(content))
