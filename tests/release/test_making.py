"""What a release says at its end, and what ends it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING
from zipfile import ZipFile

import click
import pytest

from scripts.release.__main__ import Step, make, write_sums
from scripts.release.making import NotMadeHere, Release
from scripts.version import RELEASE
from tests.release.repository import Repository
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def built(release: Release) -> None:
    (release.folder / "built").write_bytes(b"1")


def refused(release: Release) -> None:
    raise click.ClickException("an index would refuse it")


def not_here(release: Release) -> None:
    raise NotMadeHere("what only root can make")


def checked_in_vain(release: Release) -> None:
    pytest.fail("there is nothing to check")


def test_what_cannot_be_made_here_is_told_and_the_rest_is_made(tmp_path: Path) -> None:
    release = Release(tmp_path, tmp_path, RELEASE, 0, "")
    steps = (Step("one", (not_here, checked_in_vain)), Step("two", (built,)))
    assert make(release, steps) == ["what only root can make"]
    assert (tmp_path / "built").exists()


def test_a_part_that_fails_its_check_ends_the_release(tmp_path: Path) -> None:
    release = Release(tmp_path, tmp_path, RELEASE, 0, "")
    with pytest.raises(click.ClickException, match="an index would refuse it"):
        make(release, (Step("one", (built, refused)), Step("two", (checked_in_vain,))))


@pytest.mark.usefixtures("processes")
def test_checksums_of_all_files_are_those_that_sha256sum_checks(tmp_path: Path) -> None:
    release = Release(tmp_path, tmp_path, RELEASE, 0, "")
    built(release)
    write_sums(release)
    check = ("sha256sum", "--check", "--strict", "SHA256SUMS")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True).stdout == b"built: OK\n"
    (tmp_path / "built").write_bytes(b"2")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True).returncode == 1


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
def test_only_what_is_committed_is_in_a_release_and_only_that_is_final(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "clone")
    made = tmp_path / "release"
    repository.git("tag", f"v{RELEASE}")
    (repository.folder / "client/headgate/secret.py").write_text("TOKEN = 'x'\n")
    (repository.folder / "client/headgate/__init__.py").write_text("'''Changed.'''\n")
    told = repository.release(made, "distributions")
    assert "2 files are not as committed" in told
    (wheel,) = made.glob("headgate_client-*.whl")
    with ZipFile(wheel) as opened:
        assert "headgate/secret.py" not in opened.namelist()
        assert b"Changed." not in opened.read("headgate/__init__.py")
    with pytest.raises(AssertionError, match="2 files are not as committed"):
        repository.release(tmp_path / "final", preface=("env", "FINAL=1"))
    assert not (tmp_path / "final").exists()


@pytest.mark.usefixtures("processes")
def test_make_quotes_the_path_of_the_clone(tmp_path: Path) -> None:
    clone = tmp_path / "it's here"
    clone.mkdir()
    for path in ROOT.iterdir():
        (clone / path.name).symlink_to(path)
    # Below a make, one says which folder it enters, which is no command.
    quiet = ("make", "--dry-run", "--always-make", "--no-print-directory")
    words = (*quiet, "client/js/node_modules/.package-lock.json")
    recipes = subprocess.run([*words, "check"], cwd=clone, capture_output=True, check=True).stdout
    assert b"it's here" in recipes
    subprocess.run(["bash", "-n"], input=recipes, check=True)
