"""Try packages for Debian: `python -m tests.packages FOLDER [RELEASE]...`, as root.

In the folder are the packages of the commit that is checked out, as `make packages` or
`make release` has built them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from scripts.release import debs, distributions
from scripts.release.making import Release
from scripts.version import version
from tests.packages.booted import booted, try_service
from tests.packages.trial import NEXT, Trial, try_package
from tests.support.processes import ROOT

# Tags of wheels that both releases accept on arm64: their C library is newer than 2.28.
ARM64 = ("manylinux2014_aarch64", "manylinux_2_28_aarch64")
MOMENT = 2_000_000_000  # of the files of the next version


def main(built: Path, names: list[str]) -> int:
    """Try the package of each release; return 1 if one fails."""
    os.umask(0o022)
    status = 0
    release = Release(ROOT, built, version(), MOMENT, "")
    os.environ["HEADGATE_VERSION"] = NEXT
    for debian in (debs.RELEASES[name] for name in names or debs.RELEASES):
        package = debs.package_file(release, debian)
        click.echo(f"{debian.name}: {package.name}, {package.stat().st_size >> 20} MiB")
        with tempfile.TemporaryDirectory(prefix="headgate-packages-") as made:
            folder = Path(made)
            following = Release(ROOT, folder, NEXT, MOMENT, "")
            # Not as for an index, for which README would get other links: it is the clone's here.
            for project in distributions.PROJECTS:
                distributions.build_project(ROOT / project, folder, "-t", "wheel")
            newer = debs.build_deb(following, debian)
            root = debs.make_root(debian, folder / "root")
            debs.add_packages(root)  # none, but apt learns what there is
            try:
                click.echo(f"{debian.name}: {_check_arm64_wheels(debian)}")
                for seen in try_package(root, package, newer):
                    click.echo(f"{debian.name}: {seen}")
                debs.add_packages(root, "systemd", "dbus")
                Trial(root).install(package)
                with booted(root) as machine:
                    for seen in try_service(machine, f"/root/{newer.name}"):
                        click.echo(f"{debian.name}, booted: {seen}")
            except AssertionError as failure:
                status = 1
                click.echo(f"{debian.name}: FAILED: {failure}", err=True)
            shutil.rmtree(root)
    return status


def _check_arm64_wheels(debian: debs.Debian) -> str:
    """Check that each locked package has a wheel for arm64. Raises AssertionError."""
    major, minor = debian.python
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
    sys.exit(main(Path(sys.argv[1]).absolute(), sys.argv[2:]))
