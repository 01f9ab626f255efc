"""The wheels and source archives of all distributions: what is in them, and that they work."""

from __future__ import annotations

import os
import re
import subprocess
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

FENCED = re.compile(r"```.*?```", re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:)([^)\s#]+)")

pytestmark = pytest.mark.timeout(180)  # the first test builds all six

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


@pytest.fixture(scope="module")
def doctor(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    return build(ROOT / "doctor", tmp_path_factory.mktemp("doctor"))


def test_the_wheel_of_the_server_has_its_packages_without_tests(server: Distribution) -> None:
    assert server.wheel_files() == SERVER_FILES
    assert {"entry_points.txt", "licenses/LICENSE"} < server.metadata_files()


def test_the_wheel_of_the_library_has_its_package_alone_and_its_type_mark(
    library: Distribution,
) -> None:
    assert library.wheel_files() == package_files("headgate", below=ROOT / "client")
    assert "headgate/py.typed" in library.wheel_files()
    assert "licenses/LICENSE" in library.metadata_files()


def test_the_wheel_of_the_doctor_has_its_package_alone_and_its_type_mark(
    doctor: Distribution,
) -> None:
    assert doctor.wheel_files() == package_files("headgate_doctor", below=ROOT / "doctor")
    assert "headgate_doctor/py.typed" in doctor.wheel_files()
    assert {"entry_points.txt", "licenses/LICENSE"} < doctor.metadata_files()


def test_the_source_archives_have_no_wheels_tests_or_built_files(
    server: Distribution, library: Distribution, doctor: Distribution
) -> None:
    top_level = {name.partition("/")[0] for name in server.archive_files()} - {"", ".gitignore"}
    assert top_level == {
        *("CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"),
        *("CONTRIBUTING.md", "SECURITY.md", "THREAT_MODEL.md"),
        *("admin", "cdn_configs", "docs", "gateway"),
        *("benchmarks", "changes", "docker", "doctor", "packages", "tests"),
    }
    beside = (
        "benchmarks/",
        "changes/",
        "doctor/",
        "tests/",
    )  # the documentation leads to these pages
    pages = {name for name in server.archive_files() if name.startswith(beside)}
    assert {name for name in pages if not name.endswith("/README.md")} == set()
    top_level = {name.partition("/")[0] for name in library.archive_files()} - {"", ".gitignore"}
    assert top_level == {"LICENSE", "PKG-INFO", "README.md", "headgate", "pyproject.toml"}
    top_level = {name.partition("/")[0] for name in doctor.archive_files()} - {"", ".gitignore"}
    assert top_level == {"LICENSE", "PKG-INFO", "README.md", "headgate_doctor", "pyproject.toml"}
    files = server.archive_files() | library.archive_files() | doctor.archive_files()
    assert [name for name in files if name.endswith((".whl", ".pyc", ".gz"))] == []


@pytest.mark.usefixtures("processes")
def test_each_link_and_unit_of_the_documentation_is_in_the_source_archive(
    server: Distribution, tmp_path: Path
) -> None:
    """A release has no clone: its pages are read in the folder that the archive unpacks to."""
    source = unpack(server.archive, tmp_path / "source")
    pages = list(source.rglob("*.md"))
    assert len(pages) > 100
    lost = {
        f"{page.relative_to(source)}: {link}"
        for page in pages
        for link in LINK.findall(FENCED.sub("", page.read_text()))
        if not (page.parent / link).exists()
    }
    assert lost == set()
    assert (source / "packages/systemd/headgate.service").exists()  # which Installing tells to copy


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("which", ["server", "library", "doctor"])
def test_the_wheel_that_is_built_from_the_source_archive_is_the_same(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    built: Distribution = request.getfixturevalue(which)
    source = unpack(built.archive, tmp_path / "source")
    (tmp_path / "again").mkdir()
    again = build(source, tmp_path / "again")
    assert again.wheel.name == built.wheel.name
    assert again.wheel.read_bytes() == built.wheel.read_bytes()


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
    assert f"headgate {server.wheel.name.split('-')[1]} " in told
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


NO_SERVER = "http://127.0.0.1:1/v1/stream"


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("has_server", [False, True], ids=["alone", "as-an-extra"])
def test_the_doctor_runs_from_its_wheel_in_a_clean_environment(
    has_server: bool,
    server: Distribution,
    library: Distribution,
    doctor: Distribution,
    tmp_path: Path,
) -> None:
    programs = clean_environment(tmp_path / "environment")
    extra = [f"{server.wheel}[doctor]"] if has_server else []
    install(programs, library.wheel, doctor.wheel, *extra)
    commands = [["headgate-doctor"], ["headgate", "doctor", "cdn"]]
    for program, *words in commands[: 1 + has_server]:
        done = subprocess.run(
            [programs / program, *words, NO_SERVER],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, "")
        why = "cannot be examined: cannot connect: Connection refused."
        assert done.stderr.splitlines()[1:] == [f"{program}: {NO_SERVER} {why}"]
    assert (programs / "headgate").exists() == has_server


@pytest.mark.usefixtures("processes")
def test_headgate_doctor_cdn_without_its_extra_prints_the_line_that_installs_it(
    server: Distribution, library: Distribution, tmp_path: Path
) -> None:
    programs = clean_environment(tmp_path / "environment")
    install(programs, server.wheel, library.wheel)
    for words in ([NO_SERVER, "--json"], ["--help"], []):
        done = subprocess.run(
            [programs / "headgate", "doctor", "cdn", *words],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (
            2,
            "",
            "headgate: headgate doctor cdn needs an extra: pip install ./client ./doctor "
            "'.[doctor]' in a clone of Headgate, or ./headgate_doctor-*.whl in the folder of a "
            "release.\n",
        )
