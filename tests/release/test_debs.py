"""Packages for Debian: their files have one time and owner, and only root is asked to make them."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from scripts.release import debs
from scripts.release.making import Release
from tests.release.repository import COMMITTED_AT, Repository
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def pack(folder: Path, umask: int) -> Path:
    """Make a package of a tree that is as new as this call."""
    before = os.umask(umask)
    try:
        program = folder / "tree/opt/headgate/bin/headgate"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        for path in (program, *program.relative_to(folder).parents):
            (folder / path).chmod(0o755)
        release = Release(ROOT, folder, "0.1.0.dev20270115080000+gabcdef", COMMITTED_AT, "")
        return debs.pack(release, debs.RELEASES["trixie"], folder / "tree")
    finally:
        os.umask(before)


def said(*words: str | Path) -> str:
    return subprocess.check_output(words, text=True, env={**os.environ, "TZ": "UTC"})


@pytest.mark.usefixtures("processes")
def test_a_package_is_the_same_bytes_whenever_and_wherever_it_is_packed(tmp_path: Path) -> None:
    packages = []
    for name, umask in (("one", 0o022), ("another", 0o077)):
        (tmp_path / name).mkdir()
        packages.append(pack(tmp_path / name, umask))
    one, another = packages
    assert one.name == "headgate_0.1.0~git20270115080000.abcdef-1+deb13_amd64.deb"
    assert one.read_bytes() == another.read_bytes()
    lines = said("dpkg-deb", "--contents", one).splitlines()
    assert {tuple(line.split()[1:5:2]) for line in lines} == {("root/root", "2027-01-15")}
    depends = said("dpkg-deb", "--field", one, "Depends")
    assert "python3 (>= 3.13), python3 (<< 3.14), libc6 (>= 2.41)" in depends


@pytest.mark.usefixtures("processes")
def test_a_release_without_root_says_in_its_last_line_that_the_debian_packages_are_not_made(
    tmp_path: Path,
) -> None:
    nobody = ("unshare", "--user")  # in a namespace without a root
    told = Repository(tmp_path / "clone").release(tmp_path / "made", "debs", preface=nobody)
    assert told.splitlines()[-1] == f"Not made here: {debs.ONLY_ROOT}."
    assert list((tmp_path / "made").glob("*.deb")) == []
