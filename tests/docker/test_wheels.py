"""Every locked package has a wheel for the image, which has no compiler, on each processor."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from tests.docker.wheels import LOCKS, PROCESSORS, platforms, python_version
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from packaging.tags import Tag

WHEELS = ROOT / "requirements/wheels.txt"


def locked() -> list[tuple[Requirement, set[str]]]:
    """Return the packages in the locks, each with the hashes of its files."""
    text = "\n".join(lock.read_text() for lock in LOCKS).replace("\\\n", "")
    lines = [line for line in text.splitlines() if re.match(r"\w", line)]
    return [
        (Requirement(line.split(" --hash")[0]), set(re.findall(r"sha256:(\w+)", line)))
        for line in lines
    ]


def tags(processor: str) -> set[Tag]:
    version, names = python_version(), platforms(processor)
    return {
        *cpython_tags(version, platforms=names),
        *compatible_tags(version, f"cp{version[0]}{version[1]}", names),
    }


@pytest.mark.parametrize("processor", PROCESSORS)
def test_each_locked_package_has_a_wheel_for_the_image(processor: str) -> None:
    wheels = [line.split() for line in WHEELS.read_text().splitlines() if line[0] != "#"]
    fitting = tags(processor)
    found = {}
    for digest, file in wheels:
        name, version, _, wheel_tags = parse_wheel_filename(file)
        if wheel_tags & fitting:
            found[name, version] = digest
    told = ".".join(map(str, python_version()))
    image: dict[str, str | AbstractSet[str]] = {
        **default_environment(),  # type: ignore[dict-item] # a dictionary of texts, by its type
        "python_version": told,
        "python_full_version": f"{told}.0",
        "platform_machine": processor,
        "sys_platform": "linux",
    }
    needed = [
        (requirement, hashes)
        for requirement, hashes in locked()
        if requirement.marker is None or requirement.marker.evaluate(image)
    ]
    assert len(needed) > 20
    for requirement, hashes in needed:
        (exact,) = requirement.specifier
        key = (canonicalize_name(requirement.name), Version(exact.version))
        assert found.get(key) in hashes, f"no wheel of {requirement} for {processor}: make lock"
