"""Packages for Debian, with an environment in /opt for the Python of one of its releases.

The environment is made in a minimal root folder of that release, from the locked wheels and the
wheels of this release. Only root can make such folders.
"""

from __future__ import annotations

import gzip
import os
import platform
import shutil
import tempfile
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from ruamel.yaml import YAML

from scripts.release.making import PROGRAMS, ROOT, NotMadeHere, run
from scripts.version import debian

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scripts.release.making import Release

ROOTS = ROOT / "build/roots"  # each is fetched once
LOCK = Path("requirements/run.txt")
# Packages of the lock file that only a build needs; docker/Dockerfile removes the same ones.
BUILD_PACKAGES = (
    *("hatchling", "editables", "packaging", "pathspec", "pluggy"),
    "trove-classifiers",
)
# All environment variables of programs in a root folder: none of this machine's.
INSIDE = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}
# Python compiles nothing here: that has times in it, and is left to where the package is installed.
BUILDING = {**INSIDE, "PYTHONDONTWRITEBYTECODE": "1"}
# Variables of this machine by which pip reaches the package index, also in a root folder.
INDEX_VARIABLES = ("PIP_INDEX_URL", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
ONLY_ROOT = "the packages for Debian, whose root folders only root can make"
REVISION = 1  # of the package, when it is built again from the same version


class Debian(NamedTuple):
    """A release of Debian, with its Python and its version of the GNU C library."""

    number: int
    name: str
    python: tuple[int, int]
    libc: int


RELEASES = {
    release.name: release
    for release in (
        Debian(12, "bookworm", (3, 11), 36),
        Debian(13, "trixie", (3, 13), 41),
    )
}


def build(release: Release) -> None:
    """Build the package for each release of Debian."""
    if os.geteuid() != 0:
        raise NotMadeHere(ONLY_ROOT)
    for program in ("debootstrap", "lintian"):
        if shutil.which(program, path=INSIDE["PATH"]) is None:
            raise NotMadeHere(f"the packages for Debian: {program} is not installed")
    if not release.files("headgate*.whl"):
        raise click.ClickException("debs have the wheels in them: make distributions, too")
    for each in RELEASES.values():
        build_deb(release, each)


def check(release: Release) -> None:
    """See that the packages are as Debian wants them, except for what they give a reason for."""
    rules = ("--allow-root", "--fail-on=error,warning", "--tag-display-limit=0")
    run(("lintian", *rules, *release.files("headgate_*.deb")))


def package_file(release: Release, debian_release: Debian) -> Path:
    """Return where the package for a release of Debian is put."""
    version = _package_version(release, debian_release)
    return release.folder / f"headgate_{version}_{_machine()}.deb"


def _package_version(release: Release, debian_release: Debian) -> str:
    return f"{debian(release.version)}-{REVISION}+deb{debian_release.number}"


def build_deb(release: Release, debian_release: Debian) -> Path:
    """Build the package for a release of Debian, and return its file."""
    with tempfile.TemporaryDirectory(prefix="headgate-deb-") as made:
        root, tree = Path(made, "root"), Path(made, "tree")
        make_root(debian_release, root)
        add_packages(root, "python3-venv")
        _make_environment(release, root)
        _write_documents(release, debian_release, root, tree)
        (tree / "opt").mkdir()
        shutil.move(root / "opt/headgate", tree / "opt/headgate")
        return pack(release, debian_release, tree)


def pack(release: Release, debian_release: Debian, tree: Path) -> Path:
    """Make the package of a tree, and of what packages/deb/nfpm.yaml names."""
    target = package_file(release, debian_release)
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (release.moment, release.moment), follow_symlinks=False)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as described:
        YAML(typ="safe").dump(_package_config(release, debian_release, tree), described)
        described.flush()
        nfpm = (PROGRAMS / "nfpm", "package", "-p", "deb")
        run((*nfpm, "-f", described.name, "-t", target), folder=release.source)
    return target


def mirror() -> str:
    """Return the mirror of Debian that apt uses on this machine. Raises ClickException."""
    if named := os.environ.get("MIRROR"):
        return named
    form = ("--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages")
    lines = run(("apt-get", "indextargets", *form)).splitlines()
    found = [uri for label, _, uri in (line.rpartition(" ") for line in lines) if label == "Debian"]
    if not found:
        raise click.ClickException("apt names no mirror of Debian here: name one by MIRROR=URL")
    return found[0]


def make_root(release: Debian, folder: Path) -> Path:
    """Unpack a minimal root folder of a release into `folder`, and return it.

    debootstrap makes its archive the first time.
    """
    archive = ROOTS / f"{release.name}.tar"
    if not archive.exists():
        ROOTS.mkdir(parents=True, exist_ok=True)
        made = ROOTS / release.name
        shutil.rmtree(made, ignore_errors=True)  # of a run that was cut short
        run(["debootstrap", "--variant=minbase", release.name, made, mirror()])
        draft = archive.with_suffix(".draft")
        run(["tar", "--numeric-owner", "-C", made, "-cf", draft, "."])
        draft.rename(archive)
        shutil.rmtree(made)
    folder.mkdir(parents=True)
    run(["tar", "--numeric-owner", "-C", folder, "-xpf", archive])
    for name in ("hosts", "resolv.conf"):  # by which apt finds the mirror
        shutil.copy(Path("/etc", name), folder / "etc" / name)
    return folder


def inside(root: Path, *command: str, environment: Mapping[str, str] = INSIDE) -> list[str]:
    """Return the command line that runs `command` in a root folder, in a PID namespace of its own.

    More arguments of the command may be appended to it.
    """
    variables = [f"{name}={value}" for name, value in environment.items()]
    return [
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={root}/proc"),
        *("env", "--ignore-environment", *variables, "chroot", str(root), *command),
    ]


def add_packages(root: Path, *names: str) -> None:
    """Install packages in a root folder, with what they depend on."""
    run(inside(root, "apt-get", "update", "-qq"))
    run(inside(root, "apt-get", "install", "-qq", "-y", "--no-install-recommends", *names))


def _make_environment(release: Release, root: Path) -> None:
    """Make /opt/headgate in a root folder, without pip, which only a build needs."""
    shutil.copy(release.source / LOCK, root / "run.txt")
    shutil.copy(AUTHORITIES, root / "authorities")  # this machine may know more than the release
    wheels = release.files("headgate*.whl")
    for wheel in wheels:
        shutil.copy(wheel, root)
    pip = ("/pip/bin/pip", "--python", "/opt/headgate", "--quiet", "--disable-pip-version-check")
    install = (*pip, "install", "--no-deps", "--no-compile", "--only-binary=:all:")
    index = {name: value for name, value in os.environ.items() if name in INDEX_VARIABLES}
    environment = {**BUILDING, **index, "PIP_CERT": "/authorities"}
    for command in (
        ("python3", "-m", "venv", "/pip"),
        ("python3", "-m", "venv", "--without-pip", "/opt/headgate"),
        (*install, "--require-hashes", "-r", "/run.txt"),
        (*install, *(f"/{wheel.name}" for wheel in wheels)),
        (*pip, "uninstall", "--yes", *BUILD_PACKAGES),
    ):
        run(inside(root, *command, environment=environment))
    (root / "opt/headgate/.gitignore").unlink(missing_ok=True)  # of Python 3.13


def _write_documents(release: Release, debian_release: Debian, root: Path, tree: Path) -> None:
    """Write the man pages and the changelogs, as Debian has them."""
    pages, documents = tree / "usr/share/man/man1", tree / "usr/share/doc/headgate"
    shutil.copy(release.source / "scripts/man_pages.py", root)
    environment = {**BUILDING, "SOURCE_DATE_EPOCH": str(release.moment)}
    write = ("/opt/headgate/bin/python", "/man_pages.py", "/man1")
    run(inside(root, *write, environment=environment))
    shutil.copytree(root / "man1", pages)
    documents.mkdir(parents=True)
    shutil.copy(release.source / "CHANGELOG.md", documents / "changelog")
    version = _package_version(release, debian_release)
    moment = format_datetime(datetime.fromtimestamp(release.moment, UTC))
    (documents / "changelog.Debian").write_text(
        f"headgate ({version}) stable; urgency=medium\n\n"
        f"  * Headgate {release.version}: see changelog.gz.\n\n"
        f" -- {_described(release)['maintainer']}  {moment}\n"
    )
    for path in (*pages.iterdir(), *documents.iterdir()):
        # Without a name and a time, the same text is the same file.
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
        path.unlink()


def _package_config(release: Release, debian_release: Debian, tree: Path) -> dict[str, Any]:
    """Return the configuration for nfpm: packages/deb/nfpm.yaml, completed for this build."""
    config = _described(release)
    major, minor = debian_release.python
    # The environment has modules of this Python alone.
    python = (f"python3 (>= {major}.{minor})", f"python3 (<< {major}.{minor + 1})")
    config["depends"] = [*config["depends"], *python, f"libc6 (>= 2.{debian_release.libc})"]
    config["contents"][0]["src"] = str(tree)
    version = _package_version(release, debian_release)
    moment = datetime.fromtimestamp(release.moment, UTC).isoformat()
    return {**config, "version": version, "arch": _machine(), "mtime": moment}


def _described(release: Release) -> dict[str, Any]:
    described: dict[str, Any] = YAML(typ="safe").load(release.source / "packages/deb/nfpm.yaml")
    return described


def _machine() -> str:
    machine = platform.machine()
    return MACHINES.get(machine, machine)
