"""The wheels and source archives of the distributions, built as they are published."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

from scripts.release import making
from scripts.release.distributions import build_project
from scripts.release.making import WHEELS
from tests.support.processes import ROOT

UV = Path(sys.executable).with_name("uv")


class Distribution(NamedTuple):
    """The wheel and the source archive of a distribution."""

    wheel: Path
    archive: Path

    def wheel_files(self) -> set[str]:
        """Return the files of the wheel, without what describes it."""
        with ZipFile(self.wheel) as opened:
            return {name for name in opened.namelist() if ".dist-info/" not in name}

    def metadata_files(self) -> set[str]:
        """Return the files that describe the wheel, below its folder of metadata."""
        with ZipFile(self.wheel) as opened:
            names = [name.partition(".dist-info/")[2] for name in opened.namelist()]
        return {name for name in names if name}

    def archive_files(self) -> set[str]:
        """Return the files of the source archive, below its one folder."""
        with tarfile.open(self.archive) as opened:
            return {name.partition("/")[2] for name in opened.getnames()}


def build(source: Path, folder: Path) -> Distribution:
    """Build both forms of the distribution in `source` into `folder`, without an index."""
    build_project(source, folder)
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Distribution(wheel, archive)


def build_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel of the distribution in `source` into `folder`, without an index."""
    build_project(source, folder, "-t", "wheel")
    (wheel,) = folder.glob("*.whl")
    return wheel


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive into a new folder, and return the one that is in it."""
    making.unpack(archive, folder)
    (source,) = folder.iterdir()
    return source


def clean_environment(folder: Path) -> Path:
    """Make an environment with no package at all, and return its folder of programs."""
    subprocess.run(
        [UV, "venv", "--quiet", "--python", sys.executable, folder], check=True, cwd=folder.parent
    )
    return folder / "bin"


def install(programs: Path, *requirements: str | Path) -> None:
    """Install what is named and the locked wheels that it needs, without an index."""
    subprocess.run(
        [
            *(UV, "pip", "install", "--quiet", "--no-index", "--offline"),
            *("--find-links", WHEELS, "--python", programs / "python"),
            *requirements,
        ],
        check=True,
        cwd=programs.parent,
    )


def package_files(*packages: str, below: Path = ROOT) -> set[str]:
    """Return the files of packages in the tree, without what Python has compiled."""
    return {
        str(path.relative_to(below))
        for package in packages
        for path in (below / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
