"""The server and the library beside a project whose own packages have common names."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packages.distributions import build, clean_environment, install
from tests.support.processes import ROOT

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("processes")]

SETTINGS = """
SECRET_KEY = "secret"
INSTALLED_APPS = ["gateway", "admin", "cdn_configs"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
"""
MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line(sys.argv)
"""
# A test of each app: its own package is the project's, and a server of ours runs beside it.
TESTS = """
import urllib.request
from pathlib import Path
from django.test import SimpleTestCase
from headgate_gateway.process.in_thread import serving
import APP, headgate, headgate_admin, headgate_cdn

class Tests(SimpleTestCase):
    def test_both_are_imported(self):
        self.assertEqual(Path(APP.__file__).parent, Path(__file__).parent)
        with serving() as served, self.assertRaises(urllib.error.HTTPError) as told:
            urllib.request.urlopen(f"http://{served.listen}/v1/stream/none?offset=-1")
        self.assertEqual(told.exception.code, 404)
"""
NAMES = ("gateway", "admin", "cdn_configs")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "settings.py").write_text(SETTINGS)
    (folder / "manage.py").write_text(MANAGE)
    for app in NAMES:
        (folder / app).mkdir()
        (folder / app / "__init__.py").touch()
        (folder / app / "tests.py").write_text(TESTS.replace("APP", app))
    return folder


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The programs of an environment with the wheels of both, and Django."""
    programs = clean_environment(tmp_path / "environment")
    server = build(ROOT, tmp_path / "server").wheel
    install(programs, server, build(ROOT / "client", tmp_path / "library").wheel)
    (packages,) = programs.parent.glob("lib/python*/site-packages")
    for name in ("django", "asgiref", "sqlparse"):
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        (packages / name).symlink_to(Path(found.origin).parent)
    return programs


@pytest.mark.parametrize("how", ["wheels", "editable"])
def test_a_django_project_with_packages_called_gateway_and_admin_checks_and_passes_its_tests(
    how: str, project: Path, request: pytest.FixtureRequest
) -> None:
    python = Path(sys.executable)  # the server is installed into it as it is edited
    if how == "wheels":
        python = request.getfixturevalue("installed") / "python"
    assert "no issues" in run(project, python, "manage.py", "check")
    assert "Ran 3 tests" in run(project, python, "manage.py", "test", "-v2")


def test_the_names_of_the_folders_are_no_packages_where_the_wheels_are(
    installed: Path, tmp_path: Path
) -> None:
    found = (
        "import importlib.util as u; print(*map(u.find_spec, ('gateway', 'admin', 'cdn_configs')))"
    )
    assert run(tmp_path, installed / "python", "-c", found) == "None None None\n"
    told = run(tmp_path, installed / "python", "-P", "-m", "headgate_gateway", "--version")
    assert told.startswith("headgate ")


def run(folder: Path, *words: str | Path) -> str:
    """Return what a program prints in a folder, and fail with it if its status is not 0."""
    done = subprocess.run(
        words,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
