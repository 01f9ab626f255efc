"""What the pages install is ours, though others have published higher versions of our names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.packages.distributions import UV, build_wheel, clean_environment
from tests.release.package_index import HIGHER, package_index
from tests.support.processes import ROOT
from tests.test_docs import DOCUMENTS
from tests.test_installing import commands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(240)]

# Ours by a path: in a clone folders, in a release wheels.
NAMED = re.compile(r"\.$|\.\[|\.?\./|\$\(ls \./")
TOOL = re.compile(r"uv tool install ([^`\n]* \.)")
PACKAGES = ".local/share/uv/tools/headgate/lib/*/site-packages"  # of its environment
# As pip and uv say what they would install: a version, or of uv a path.
INSTALLED = re.compile(r"(?<![\w./-])(headgate(?:-client|-doctor)?)(?:-(?=\d)|==| @ )(\S+)")


def printed() -> list[str]:
    """What pages let pip install of ours, without what they install beside it."""
    found = set()
    for path in DOCUMENTS:
        for command in commands((ROOT / path).read_text()):
            words = re.findall(r'"[^"]+"|\S+', command)
            if own := [word for word in words if NAMED.match(word.strip("'\""))]:
                found.add(" ".join(sorted(own)))
    return sorted(found)


class Installer:
    """An environment outside the clone, what installs into it, and what this is told."""

    def __init__(self, tool: str, folder: Path, release: Path, index: str) -> None:
        python = clean_environment(folder / "environment") / "python"
        pip = f"{sys.executable} -m pip --python {python} install"
        self._program = {"pip": pip, "uv": f"{UV} pip install --python {python}"}[tool]
        self._release = release
        self._variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": index,
            "UV_CACHE_DIR": str(folder / "cache"),
            "UV_DEFAULT_INDEX": index,
            "UV_NO_CONFIG": "1",
            "UV_PYTHON": sys.executable,
        }

    def versions(self, words: str) -> dict[str, str]:
        """Return what would be installed of ours; where wheels are named, in or below a release."""
        folder = self._release / "below" if "../" in words else self._release
        told = self.run(f"{self._program} --dry-run {words}", folder if ".whl" in words else ROOT)
        return dict(INSTALLED.findall(told))

    def run(self, command: str, folder: Path) -> str:
        """Return what is printed by what is typed in a folder."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=self._variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def release(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our wheels, as that of a release."""
    folder = tmp_path_factory.mktemp("release")
    for project in (".", "client", "doctor"):
        wheel = build_wheel(ROOT / project, tmp_path_factory.mktemp("wheel"))
        wheel.rename(folder / wheel.name)
    (folder / "below").mkdir()  # such as the examples
    return folder


@pytest.fixture(scope="module")
def index(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with package_index(tmp_path_factory.mktemp("index")) as url:
        yield url


@pytest.fixture(params=["pip", "uv"])
def installer(
    request: pytest.FixtureRequest, tmp_path: Path, release: Path, index: str
) -> Installer:
    return Installer(request.param, tmp_path, release, index)


ROWS = [pytest.param(it, id="-".join(re.findall(r"[\w.]+", it))) for it in printed()]


@pytest.mark.parametrize("words", ROWS)
def test_what_a_page_installs_of_ours_is_never_a_higher_version_of_the_index(
    words: str, installer: Installer
) -> None:
    found = installer.versions(words)
    assert "headgate-client" in found
    assert ("headgate" in found) == bool(re.search(r"(^| )'?\.(\[| |$)|headgate-\*", words))
    assert {name: version for name, version in found.items() if version in HIGHER} == {}


TOOLS = sorted({it for path in DOCUMENTS for it in TOOL.findall((ROOT / path).read_text())})


@pytest.mark.parametrize("words", TOOLS)
def test_what_a_page_installs_by_uv_tool_is_never_a_higher_version_of_the_index(
    words: str, tmp_path: Path, release: Path, index: str
) -> None:
    installer = Installer("uv", tmp_path, release, index)
    installer.run(f"{UV} tool install {words}", ROOT)
    found = [path.name.split("-")[:2] for path in tmp_path.glob(f"{PACKAGES}/headgate*.dist-info")]
    assert {name for name, _ in found} >= {"headgate", "headgate_client"}
    assert [version for _, version in found if version.removesuffix(".dist") in HIGHER] == []


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ("headgate", {"headgate": "9.9"}),
        ("./headgate-*.whl", {"headgate-client": "0.1.99"}),
        ("./headgate-*.whl ./headgate_client-*.whl headgate-doctor", {"headgate-doctor": "9.9"}),
    ],
)
def test_a_name_in_place_of_a_path_would_install_the_higher_version(
    words: str, taken: dict[str, str], installer: Installer
) -> None:
    assert installer.versions(words).items() >= taken.items()
