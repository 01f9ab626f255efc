"""One rule says the version of everything that is released."""

from __future__ import annotations

import json
import re
import tarfile
from email.parser import Parser
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

from scripts.version import RELEASE, npm
from tests.packages.distributions import clean_environment, install
from tests.release.repository import MOMENT, Repository
from tests.support.http1 import ask
from tests.support.processes import ROOT, Headgate
from tests.test_architecture import sources

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(180)

NAMES = ("headgate", "headgate_client", "headgate_doctor")
# Beside the rule itself: manifests for Kubernetes name an image, and cannot ask it.
NAMED_BY_HAND = {
    "packages/kubernetes/headgate-file.yaml",
    "packages/kubernetes/headgate-redis.yaml",
    "scripts/version.py",
}
RANGES = re.compile(r'"(headgate-(?:client|doctor)[^",]*,[^"]*)"')


@pytest.fixture
def repository(processes: None, tmp_path: Path) -> Repository:
    return Repository(tmp_path / "clone")


def versions(folder: Path) -> dict[str, str]:
    """Return the version in the metadata of each file, for its name with V for that version."""
    found = {}
    for path in folder.iterdir():
        if path.suffix == ".whl":
            with ZipFile(path) as opened:
                (name,) = (one for one in opened.namelist() if one.endswith("/METADATA"))
                said = Parser().parsestr(opened.read(name).decode())["Version"]
        elif path.suffix in (".gz", ".tgz"):
            with tarfile.open(path) as packed:
                described = "package.json" if path.suffix == ".tgz" else "PKG-INFO"
                top = packed.getnames()[0].partition("/")[0]
                content = packed.extractfile(f"{top}/{described}")
                assert content is not None
                text = content.read().decode()
                is_json = path.suffix == ".tgz"
                said = (
                    json.loads(text)["version"] if is_json else Parser().parsestr(text)["Version"]
                )
        else:
            continue
        found[path.name.replace(said, "V")] = said
    return found


def named(version: str) -> dict[str, str]:
    """Return what `versions` finds in a release of this version."""
    found = {"headgate-client-V.tgz": npm(version)}
    for name in NAMES:
        found |= {f"{name}-V-py3-none-any.whl": version, f"{name}-V.tar.gz": version}
    return found


@pytest.mark.usefixtures("processes")
def test_a_build_without_a_tag_has_its_revision_in_names_metadata_and_metric(
    repository: Repository, tmp_path: Path
) -> None:
    made = tmp_path / "release"
    told = repository.release(made, "distributions", "npm")
    version = f"{RELEASE}.dev{MOMENT}+g{repository.revision}"
    assert versions(made) == named(version)
    assert f"HEAD has no tag v{RELEASE}: this is {version}" in told
    programs = clean_environment(tmp_path / "environment")
    install(programs, *made.glob("*.whl"))
    server = Headgate(program=programs / "headgate", preface=("env",))
    try:
        server.start()
        metrics = ask(server.admin_port, "GET", "/metrics").body.decode()
    finally:
        server.close()
    (labels,) = re.findall(r"^headgate_build_info\{(.*)\} 1\.0$", metrics, re.MULTILINE)
    assert f'version="{version}"' in labels


@pytest.mark.usefixtures("processes")
def test_a_build_of_a_tagged_commit_is_the_release_in_names_and_metadata(
    repository: Repository, tmp_path: Path
) -> None:
    repository.git("tag", f"v{RELEASE}")
    made = tmp_path / "release"
    told = repository.release(made, "distributions", "npm", "materials")
    assert "has no tag" not in told
    bills = {path.name: json.loads(path.read_bytes()) for path in made.glob("*.json")}
    assert len(bills) == 4
    for name, bill in bills.items():
        assert name.endswith(f"-{RELEASE}.cdx.json")
        assert bill["metadata"]["component"]["version"] == RELEASE
        (made / name).unlink()
    assert versions(made) == named(RELEASE)
    versioned = {name.replace("V", RELEASE) for name in named(RELEASE)}
    assert {path.name for path in made.iterdir()} == {*versioned, "LICENSES.txt", "SHA256SUMS"}


def test_the_version_is_in_one_file_and_in_those_that_cannot_ask_it() -> None:
    locks = {"client/js/package-lock.json"}
    places = {*map(str, sources("client", "doctor", "docker", "packages", "scripts"))} - locks
    # A range, or the version of something else.
    other = rf"[=<>]={RELEASE}"
    found = {
        path
        for path in (*places, "pyproject.toml", "Makefile")
        if RELEASE in re.sub(other, "", (ROOT / path).read_bytes().decode(errors="replace"))
    }
    assert found == NAMED_BY_HAND
    for path in NAMED_BY_HAND - {"scripts/version.py"}:
        images = re.findall(r"image: \S+/headgate:(\S+)", (ROOT / path).read_text())
        assert set(images) == {RELEASE}
    (first, *_) = re.findall(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first == RELEASE


def test_ranges_between_our_distributions_admit_the_release_and_builds_before_it() -> None:
    files = [ROOT / name for name in ("pyproject.toml", "doctor/pyproject.toml")]
    ranges = [Requirement(one) for path in files for one in RANGES.findall(path.read_text())]
    assert len(ranges) == 3
    before = f"{RELEASE}.dev{MOMENT}+g01234567"
    unknown = f"{RELEASE}.dev0+unknown"
    major, minor, _ = RELEASE.split(".")
    for one in ranges:
        for version in (RELEASE, before, unknown, f"{major}.{minor}.99"):
            assert version in one.specifier, (one, version)
        assert f"{major}.{int(minor) + 1}.0" not in one.specifier
