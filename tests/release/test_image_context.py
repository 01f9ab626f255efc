"""The context of the image in a release: whoever has it builds an image of that very version."""

from __future__ import annotations

import re
import tarfile
from typing import TYPE_CHECKING

import pytest

from scripts.release.image import archive, build, sent_files
from scripts.release.making import Release
from tests.packages.distributions import unpack
from tests.release.repository import COMMITTED_AT, Repository
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

REVISION = "0123456789abcdef0123456789abcdef01234567"
MANIFESTS = ("packages/kubernetes/headgate-file.yaml", "packages/kubernetes/headgate-redis.yaml")
RUNNING = ("docker/compose.yaml", "docker/nginx/headgate.conf", "docker/prometheus/rules.yaml")


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(240)
def test_the_image_of_the_unpacked_archive_has_the_version_and_revision_of_the_commit(
    tmp_path: Path,
) -> None:
    """Making it ends with the replay of its image file, which says the version by itself."""
    repository = Repository(tmp_path / "clone")
    revision = repository.git("rev-parse", "HEAD")
    repository.release(tmp_path / "made", "image")
    (made,) = (tmp_path / "made").glob("*.tar.gz")
    with tarfile.open(made) as opened:
        members = opened.getmembers()
    assert {(it.mtime, it.uid, it.gid, it.uname, it.mode) for it in members} == {
        (COMMITTED_AT, 0, 0, "", 0o644)
    }
    context = unpack(made, tmp_path / "unpacked")
    version = made.name.removeprefix("headgate-image-").removesuffix(".tar.gz")
    assert version.endswith(f"+g{repository.revision}")
    said = (context / "docker/Dockerfile").read_text()
    assert re.findall(r"^ARG (.*)$", said, re.MULTILINE) == [
        f"HEADGATE_VERSION={version}",
        f"REVISION={revision}",
        f"HEADGATE_VERSION={version}",
    ]
    assert "git rev-parse" not in said
    for manifest in MANIFESTS:
        (image,) = re.findall(r"image: \S+/headgate:(\S+)", (context / manifest).read_text())
        assert image == version.replace("+", "-")
    sent = set(sent_files(ROOT))
    names = {str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()}
    assert sent | {".dockerignore", *MANIFESTS, *RUNNING} <= names
    beside = (".dockerignore", "docker/", "packages/kubernetes/")
    assert [name for name in names - sent if not name.startswith(beside)] == []


@pytest.mark.usefixtures("processes")
def test_two_archives_of_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    archives = []
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        release = Release(ROOT, tmp_path / name, "0.1.0", COMMITTED_AT, REVISION)
        build(release)
        archives.append(archive(release).read_bytes())
    assert archives[0] == archives[1]
