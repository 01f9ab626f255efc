"""Each Python that the distributions name is played by CI, found by make, and was tried."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.support.processes import ROOT

VERSION = re.compile(r"3\.\d+")
PAGE = "docs/installing.md"
# Of each place that names all of them: what stands around the list.
LISTS = {
    ".github/workflows/ci.yml": r"python: \[([^]]*)\]",
    "scripts/python.sh": r"in \$\{PYTHON:-([^}]*)\}",
    PAGE: r"\*\*Which Python\.\*\* ([^:]*):",
}


def classified(project: str) -> list[str]:
    named = tomllib.loads((ROOT / project).read_text())["project"]["classifiers"]
    return VERSION.findall("\n".join(named))


PYTHONS = classified("pyproject.toml")


@pytest.mark.parametrize(
    "project", ["pyproject.toml", "client/pyproject.toml", "doctor/pyproject.toml"]
)
def test_a_distribution_names_each_python_and_needs_the_first(project: str) -> None:
    needed = tomllib.loads((ROOT / project).read_text())["project"]["requires-python"]
    assert (classified(project), needed) == (PYTHONS, f">={PYTHONS[0]}")


@pytest.mark.parametrize("place", LISTS)
def test_a_list_of_pythons_is_that_of_the_distributions(place: str) -> None:
    (text,) = re.findall(LISTS[place], (ROOT / place).read_text())
    assert VERSION.findall(text) == PYTHONS


def test_the_page_says_the_python_of_the_image_and_of_each_package() -> None:
    (image,) = set(re.findall(r"FROM python:(3\.\d+)", (ROOT / "docker/Dockerfile").read_text()))
    text = (ROOT / "scripts/release/debs.py").read_text()
    releases = re.findall(r"Debian\((\d+), .*\(3, (\d+)\)", text)
    packages = [f"3.{minor} on Debian {number}" for number, minor in releases]
    said = f"The image has {image}, and the package uses {' and '.join(packages)}."
    assert said in (ROOT / PAGE).read_text()
    assert {image, *VERSION.findall(said)} <= set(PYTHONS)
