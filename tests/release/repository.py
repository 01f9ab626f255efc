"""A repository of its own with the files of this tree, in which a test commits, tags and builds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.processes import ROOT
from tests.test_architecture import NOT_SOURCES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COMMITTED_AT = 1_800_000_000  # 2027-01-15 08:00:00 UTC
MOMENT = "20270115080000"
TOOLS = "client/js/node_modules"  # as make has installed them


def git(folder: Path, *words: str, at: int = COMMITTED_AT) -> str:
    """Run git in a folder, at a time in seconds, and return what it prints."""
    identity = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "t@t"), ("EMAIL", "t@t"), ("DATE", f"{at} +0200"))
    }
    return _run(folder, ("git", *words), identity)


class Repository:
    """What is committed in it is what this tree has, committed or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*NOT_SOURCES))
        (folder / TOOLS).symlink_to(ROOT / TOOLS)
        self.git("init", "--quiet")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "all")
        self.revision = self.git("rev-parse", "HEAD")[:8]  # as a version has it

    def git(self, *words: str) -> str:
        """Run git, at a time that is always the same."""
        return git(self.folder, *words)

    def release(self, folder: Path, *parts: str, preface: tuple[str, ...] = ()) -> str:
        """Make these parts of a release into a folder, and return what is printed."""
        words = (*preface, sys.executable, "-m", "scripts.release", "--folder", str(folder), *parts)
        return _run(self.folder, words, {})


def _run(folder: Path, words: tuple[str, ...], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.strip()
