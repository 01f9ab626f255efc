"""Build the packages for Debian and try them: `python -m tests.packages [RELEASE]...`, as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from scripts import debs
from tests.packages.booted import booted, try_service
from tests.packages.trial import Trial, next_version, try_package
from tests.support.processes import ROOT

FOLDER = ROOT / "build/packages"
ROOTS = FOLDER / "roots"
# Tags of wheels that both releases accept on arm64: their C library is newer than 2.28.
ARM64 = ("manylinux2014_aarch64", "manylinux_2_28_aarch64")


def main(names: list[str]) -> int:
    """Build and try the package of each release; return 1 if one fails."""
    os.umask(0o022)
    status = 0
    for release in (debs.RELEASES[name] for name in names or debs.RELEASES):
        with tempfile.TemporaryDirectory(prefix="headgate-packages-") as made:
            folder = Path(made)
            package = debs.build_deb(release, ROOT, FOLDER, ROOTS)
            click.echo(f"{release.name}: built {package.name}, {package.stat().st_size >> 20} MiB")
            newer = debs.build_deb(release, next_version(folder), folder, ROOTS)
            root = debs.make_root(release, ROOTS, folder / "root")
            debs.add_packages(root)  # none, but apt learns what there is
            try:
                click.echo(f"{release.name}: {_check_arm64_wheels(release)}")
                for seen in try_package(root, package, newer):
                    click.echo(f"{release.name}: {seen}")
                debs.add_packages(root, "systemd", "dbus")
                Trial(root).install(package)
                with booted(root) as machine:
                    for seen in try_service(machine, f"/root/{newer.name}"):
                        click.echo(f"{release.name}, booted: {seen}")
            except AssertionError as failure:
                status = 1
                click.echo(f"{release.name}: FAILED: {failure}", err=True)
            shutil.rmtree(root)
    return status


def _check_arm64_wheels(release: debs.Release) -> str:
    """Check that each locked package has a wheel for arm64. Raises AssertionError."""
    major, minor = release.python
    with tempfile.TemporaryDirectory() as nowhere:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps"),
                *("--require-hashes", "--only-binary=:all:", "--target", nowhere),
                *("--python-version", f"{major}.{minor}", "--implementation", "cp"),
                *(f"--platform={tag}" for tag in ARM64),
                *("-r", ROOT / debs.LOCK),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    assert done.returncode == 0, f"a locked package has no wheel for arm64:\n{done.stdout}"
    return "each locked package has a wheel for arm64"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
