"""The wheels that the image installs on each processor: `python -m tests.docker.wheels`.

It fetches what the lock names as an engine on that machine would, and fails where a package would
have to be compiled, which the image has no compiler for. It prints what it was given: the hash and
the name of each wheel, for requirements/wheels.txt, which `make lock` writes by it.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from tests.docker.image_file import instructions
from tests.support.processes import ROOT

LOCKS = [ROOT / "requirements" / name for name in ("run.txt", "front.txt")]
PROCESSORS = ("x86_64", "aarch64")
# The GNU libraries whose wheels run on that of the image, which is Debian 12's at the oldest.
LIBRARIES = (5, 12, 17, 24, 26, 27, 28, 31, 34, 35)


def python_version() -> tuple[int, int]:
    """Return the version of the image's Python."""
    (version,) = {re.search(r"^python:(\d+)\.(\d+)-", line) for line in instructions("FROM")[-1:]}
    assert version is not None
    return int(version[1]), int(version[2])


def platforms(processor: str) -> list[str]:
    """Return the platforms of the image on this processor, by their names in wheels."""
    old = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}
    names = [f"manylinux_2_{minor}" for minor in reversed(LIBRARIES)]
    return [f"{name}_{processor}" for name in (*names, *reversed(old))]


def fetch(processor: str, folder: Path) -> None:
    """Fetch a wheel of each locked package into a folder, or fail."""
    version = ".".join(map(str, python_version()))
    requirements = [word for lock in LOCKS for word in ("--requirement", str(lock))]
    told = [word for name in platforms(processor) for word in ("--platform", name)]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"),
            *("--only-binary=:all:", "--implementation", "cp", "--python-version", version, *told),
            *("--no-deps", "--require-hashes", *requirements),
            *("--dest", folder),
        ],
        check=True,
    )


def main() -> None:
    """Fetch the wheels for each processor, and print their hashes and names."""
    click.echo("# Wheels for the image, by their SHA-256. Made by `make lock`.")
    found = set()
    for processor in PROCESSORS:
        with tempfile.TemporaryDirectory() as folder:
            fetch(processor, Path(folder))
            for wheel in Path(folder).iterdir():
                found.add((wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest()))
    for name, digest in sorted(found):
        click.echo(f"{digest}  {name}")


if __name__ == "__main__":
    main()
