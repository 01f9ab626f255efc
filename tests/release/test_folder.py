"""The folder of a release loses the earlier release, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from scripts.release.folder import MADE, emptied
from tests.release.test_version import named

if TYPE_CHECKING:
    from pathlib import Path

EARLIER = (
    *named("0.1.0.dev20270115080000+g01234567"),
    "headgate_0.1.0-1+deb12_amd64.deb",
    "headgate-image-0.1.0.cdx.json",
    "LICENSES.txt",
    "README.md",
    "SHA256SUMS",
)


def test_an_earlier_release_is_removed(tmp_path: Path) -> None:
    for name in EARLIER:
        assert MADE.fullmatch(name), name
        (tmp_path / name).touch()
    with emptied(tmp_path):
        assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["headgate-data", "headgate-try", "tale.html", "server.log"])
def test_what_five_minutes_leaves_there_is_kept_and_no_release_is_made(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "SHA256SUMS").touch()
    (tmp_path / name).touch() if "." in name else (tmp_path / name).mkdir()
    with pytest.raises(click.ClickException, match=f"move it away: {name}$"), emptied(tmp_path):
        pytest.fail("a release is made there")
    assert {path.name for path in tmp_path.iterdir()} == {"SHA256SUMS", name}


def test_a_link_to_a_folder_is_that_folder(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "release").symlink_to(disk)
    (disk / "README.md").touch()
    with emptied(tmp_path / "release"):
        assert not [*disk.iterdir()]


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "release").touch()
    with (
        pytest.raises(click.ClickException, match="no release can be made there"),
        emptied(tmp_path / "release"),
    ):
        pytest.fail("a release is made there")


def test_two_releases_are_not_made_in_one_folder_at_once(tmp_path: Path) -> None:
    with emptied(tmp_path):
        (tmp_path / "README.md").touch()
        with (
            pytest.raises(click.ClickException, match="another release is being made in"),
            emptied(tmp_path),
        ):
            pytest.fail("two releases are made there")
        assert (tmp_path / "README.md").exists()
    with emptied(tmp_path):
        pass
