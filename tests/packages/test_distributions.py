"""The wheels and source archives of both distributions: what is in them, and that they work."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from tests.packages.distributions import (
    Distribution,
    build,
    clean_environment,
    install,
    package_files,
    unpack,
)
from tests.support.http1 import ask
from tests.support.processes import ROOT, Headgate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(180)  # the first test builds all four

PARTS = {"gateway": "headgate_gateway", "admin": "headgate_admin", "cdn_configs": "headgate_cdn"}
# The expected output of the configurations is for the tests alone.
SERVER_FILES = {
    name
    for folder, package in PARTS.items()
    for name in package_files(package, below=ROOT / folder)
    if "/golden/" not in name
}


@pytest.fixture(scope="module")
def server(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    return build(ROOT, tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def library(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    return build(ROOT / "client", tmp_path_factory.mktemp("library"))


@pytest.mark.usefixtures("processes")
def test_twine_finds_nothing_wrong_with_the_distributions(
    server: Distribution, library: Distribution
) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *server, *library],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_wheel_of_the_server_has_its_packages_without_tests(server: Distribution) -> None:
    assert server.wheel_files() == SERVER_FILES
    assert {"entry_points.txt", "licenses/LICENSE"} < server.metadata_files()


def test_the_wheel_of_the_library_has_its_package_alone_and_its_type_mark(
    library: Distribution,
) -> None:
    assert library.wheel_files() == package_files("headgate", below=ROOT / "client")
    assert "headgate/py.typed" in library.wheel_files()
    assert "licenses/LICENSE" in library.metadata_files()


def test_the_source_archives_have_no_wheels_tests_or_built_files(
    server: Distribution, library: Distribution
) -> None:
    top_level = {name.partition("/")[0] for name in server.archive_files()} - {"", ".gitignore"}
    assert top_level == {
        *("CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"),
        *("admin", "cdn_configs", "docs", "gateway"),
    }
    top_level = {name.partition("/")[0] for name in library.archive_files()} - {"", ".gitignore"}
    assert top_level == {"LICENSE", "PKG-INFO", "README.md", "headgate", "pyproject.toml"}
    files = server.archive_files() | library.archive_files()
    assert [name for name in files if name.endswith((".whl", ".pyc", ".gz"))] == []


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("which", ["server", "library"])
def test_the_wheel_that_is_built_from_the_source_archive_is_the_same(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    built: Distribution = request.getfixturevalue(which)
    (tmp_path / "source").mkdir()
    source = unpack(built.archive, tmp_path / "source")
    (tmp_path / "again").mkdir()
    again = build(source, tmp_path / "again")
    assert again.wheel_files() == built.wheel_files()
    assert again.metadata_files() == built.metadata_files()


@pytest.mark.usefixtures("processes")
def test_the_server_serves_from_its_wheels_in_a_clean_environment_elsewhere(
    server: Distribution, library: Distribution, tmp_path: Path
) -> None:
    programs = clean_environment(tmp_path / "environment")
    install(programs, server.wheel, library.wheel)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    told = subprocess.run(
        [programs / "headgate", "--version"],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert version("headgate") in told
    started = Headgate(
        f"file:{tmp_path}/streams",
        program=programs / "headgate",
        preface=("env", f"--chdir={elsewhere}"),
    )
    try:
        started.start()
        kept = ask(started.port, "PUT", "/v1/stream/s", b"one", content_type="text/plain")
        assert kept.status == 201
        assert ask(started.port, "GET", "/v1/stream/s?offset=-1").body == b"one"
        page = ask(started.admin_port, "GET", "/", accept="text/html")
        assert page.status == 200
        assert ask(started.admin_port, "GET", "/alerts").status == 200
    finally:
        started.close()


@pytest.mark.usefixtures("processes")
def test_the_library_is_imported_without_the_server_in_a_clean_environment(
    library: Distribution, tmp_path: Path
) -> None:
    programs = clean_environment(tmp_path / "environment")
    install(programs, library.wheel)
    found = subprocess.run(
        [
            *(programs / "python", "-c"),
            "import headgate, importlib.util as u;"
            "print(u.find_spec('headgate_gateway'), headgate.__all__)",
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert found.startswith("None [")
