"""The fixtures of all versions, packed in folders that are named after what wrote them."""

from __future__ import annotations

import contextlib
import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

FIXTURES = Path(__file__).parent
VERSIONS = sorted(it.parent.name for it in FIXTURES.glob("*/expected.json"))
# Of a data folder: the index of the WAL and the reserve of disk space are made anew by each start.
LEFT_OUT = ("headgate.db-shm", "headgate.reserve")
WHAT_TO_DO = """\
This version reads what {version} has written in another way, or not at all. Not meant: repair it.
Meant: let this version read the older form as well, or, if that is not worth its code, say in
docs/upgrading.md how to copy ("A folder of another format"), with a test here that copies this
fixture by the commands of that page. CONTRIBUTING.md says when fixtures are added; those that are
here are never made anew. A value that has no reader (such as a default) may be corrected in
{version}/expected.json, in the commit that changes it and tells users."""


def pack(folder: Path, archive: Path) -> None:
    """Pack the files of a folder."""
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file.name not in LEFT_OUT:
                packed.add(file, str(file.relative_to(folder)))


def unpack(version: str, name: str, folder: Path) -> Path:
    """Unpack what a version has written into a new folder; return that."""
    with tarfile.open(FIXTURES / version / f"{name}.tar.xz") as packed:
        for member in packed:  # Python 3.11.2, of Debian 12, has no filter that leaves out owners
            file, opened = folder / member.name, packed.extractfile(member)
            assert opened is not None
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(opened.read())
            file.chmod(member.mode)
    return folder


def expected(version: str) -> Any:
    """Return what was read of the fixtures when they were made."""
    return json.loads((FIXTURES / version / "expected.json").read_text())


@contextlib.contextmanager
def advised(version: str) -> Iterator[None]:
    """Say what to do about a failure."""
    try:
        yield
    except Exception as failure:
        failure.add_note(WHAT_TO_DO.format(version=version))
        raise
