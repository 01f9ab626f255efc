"""Whoever fills in every place as it is prepared has metadata, manifests and links that hold."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
from mkdocs.config import load_config

from scripts.release.places import places, to_do
from scripts.version import RELEASE
from tests.release.repository import Repository
from tests.release.test_places import FILES
from tests.support.processes import ROOT

FORGE = "forge.example.org/headgate/headgate"
WRITTEN = {
    "maintainers@headgate.invalid": "people@example.org",
    "security@headgate.invalid": "security@example.org",
    "source.headgate.invalid": FORGE,
    "docs.headgate.invalid": "headgate.example.org",
    "registry.headgate.invalid": "registry.example.org",
    "<this repository>": f"https://{FORGE}.git",
    "<fill in>": "",
    "not released yet": "released",
}
# How a line is no comment any more.
LEADERS = ((r"^# <fill in> ", ""), ('"<fill in> ', '"'), (r"<!-- <fill in> (.*) -->", r"\1"))
SHIPPED = [file for file in FILES if not file.startswith("tests/")]


def projects(name: str) -> list[str]:
    return [file for file in SHIPPED if Path(file).name == name]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with something in each place."""
    copy = tmp_path_factory.mktemp("filled")
    for file in SHIPPED:
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, copy / file)
    fill_in(copy)
    return copy


def fill_in(folder: Path) -> None:
    for file in {folder / place.file for place in places(folder, SHIPPED)}:
        text = re.sub(r"not\s+released\s+yet", "not released yet", file.read_text())
        file.write_text("".join(map(filled_in, text.splitlines(keepends=True))))


def filled_in(line: str) -> str:
    for mark, written in WRITTEN.items():
        if mark in line:
            for leader, instead in LEADERS if ".invalid" in mark else ():
                line = re.sub(leader, instead, line)
            line = line.replace(mark, written)
    return line


def test_nothing_is_left_then(filled: Path) -> None:
    assert places(filled, SHIPPED) == []


@pytest.mark.parametrize("file", projects("pyproject.toml"))
def test_a_distribution_names_its_authors_and_where_to_find_what(file: str, filled: Path) -> None:
    core = ProjectMetadata(str((filled / file).parent), PluginManager()).core
    assert set(core.urls) == {"Source", "Documentation", "Issues", "Changelog"}
    assert core.authors_data["email"]
    assert [url for url in core.urls.values() if not url.startswith("https://")] == []


@pytest.mark.parametrize(
    "file", [one for one in projects("package.json") if "private" not in (ROOT / one).read_text()]
)
def test_an_npm_package_names_its_author_and_where_to_find_what(file: str, filled: Path) -> None:
    package = json.loads((filled / file).read_text())
    assert re.fullmatch(r"[^<]+ <\S+@\S+>", package["author"])
    assert package["homepage"].startswith("https://")
    assert package["bugs"]["url"].startswith("https://")
    assert re.fullmatch(r"git\+https://\S+\.git", package["repository"]["url"])
    assert package["repository"]["directory"] == str(Path(file).parent)
    assert [key for key in package if "fill in" in key] == []


def test_packages_images_and_manifests_name_where_they_come_from(filled: Path) -> None:
    package = yaml.safe_load((filled / "packages/deb/nfpm.yaml").read_text())
    assert re.fullmatch(r"[^<]+ <\S+@\S+>", package["maintainer"])
    assert package["homepage"].startswith("https://")
    image = (filled / "docker/Dockerfile").read_text()
    assert re.search(
        r'^LABEL org\.opencontainers\.image\.source="https://\S+"$', image, re.MULTILINE
    )
    shipped = [file for file in SHIPPED if file.startswith("packages/")]
    assert shipped
    assert [file for file in shipped if "example.com" in (ROOT / file).read_text()] == []


def test_the_site_has_its_address_and_that_of_the_repository(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config: dict[str, Any] = load_config(str(filled / "mkdocs.yml"))  # type: ignore[assignment]
    assert config["site_url"].startswith("https://")
    assert config["repo_url"].startswith("https://")


def test_whom_to_ask_and_whom_to_tell_of_a_vulnerability_is_said(filled: Path) -> None:
    owners = (filled / ".github/CODEOWNERS").read_text().splitlines()
    assert [line for line in owners if re.match(r"\* \S", line)]
    chooser = yaml.safe_load((filled / ".github/ISSUE_TEMPLATE/config.yml").read_text())
    (link,) = chooser["contact_links"]
    assert re.fullmatch(r"https://\S+/SECURITY\.md", link["url"])


def test_the_addresses_of_files_on_the_forge_are_those_of_files(filled: Path) -> None:
    project = tomllib.loads((filled / "pyproject.toml").read_text())["project"]
    named = re.compile(re.escape(project["urls"]["Source"]) + r"/[\w./-]*?([\w-]+\.(?:md|yml))")
    told = {
        name
        for file in SHIPPED
        for name in named.findall((filled / file).read_text(errors="replace"))
    }
    assert told == {"CHANGELOG.md", "SECURITY.md", "ci.yml"}
    assert told <= {Path(file).name for file in SHIPPED}


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
def test_a_final_release_is_refused_until_every_place_is_filled_in(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "clone")
    repository.git("tag", f"v{RELEASE}")
    made, final = tmp_path / "release", ("env", "FINAL=1")
    left = to_do(places(repository.folder, SHIPPED))
    if left:  # nobody has yet
        with pytest.raises(AssertionError) as refused:
            repository.release(made, preface=final)
        assert str(refused.value).splitlines()[-len(left) :] == left
        assert not made.exists()
        lines = repository.release(made, "npm").splitlines()
        assert lines[-len(left) :] == [f"To be done before it is published: {one}" for one in left]
        fill_in(repository.folder)
        repository.git("commit", "--quiet", "--all", "--message", "filled in")
        repository.git("tag", "--force", f"v{RELEASE}")
    said = repository.release(made, "distributions", "npm", preface=final)
    assert "To be done" not in said
    with zipfile.ZipFile(made / f"headgate-{RELEASE}-py3-none-any.whl") as wheel:
        metadata = wheel.read(f"headgate-{RELEASE}.dist-info/METADATA").decode()
    assert metadata.count("\nProject-URL: ") == 4
    assert re.findall(r"\]\((?!https://|#)[^)]*\)", metadata) == []
    assert re.search(r"\]\(https://\S+/raw/\S+/docs/img/headgate\.svg\)", metadata)
