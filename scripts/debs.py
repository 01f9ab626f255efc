"""Build packages for Debian: `debs.py FOLDER [RELEASE]...`, as root.

The environment in /opt is made in a minimal root folder of the release, with the release's Python,
from the locked wheels. A package fits only the release that it is built for.
"""

from __future__ import annotations

import gzip
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(sys.executable).parent
LOCK = "requirements/run.txt"
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
# Variables of this machine by which pip reaches the package index, also in a root folder.
INDEX_VARIABLES = ("PIP_INDEX_URL", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class Release(NamedTuple):
    """A release of Debian, with its Python and its version of the GNU C library."""

    number: int
    name: str
    python: tuple[int, int]
    libc: int


RELEASES = {
    release.name: release
    for release in (
        Release(12, "bookworm", (3, 11), 36),
        Release(13, "trixie", (3, 13), 41),
    )
}


def mirror() -> str:
    """Return the mirror of Debian that apt uses on this machine. Raises ClickException."""
    if named := os.environ.get("MIRROR"):
        return named
    targets = (
        "apt-get",
        "indextargets",
        "--format",
        "$(LABEL) $(REPO_URI)",
        "Created-By: Packages",
    )
    lines = _run(targets).splitlines()
    found = [uri for label, _, uri in (line.rpartition(" ") for line in lines) if label == "Debian"]
    if not found:
        raise click.ClickException("apt names no mirror of Debian here: name one by MIRROR=URL")
    return found[0]


def make_root(release: Release, cache: Path, folder: Path) -> Path:
    """Unpack a minimal root folder of a release into `folder`, and return it.

    debootstrap makes its archive in `cache` the first time.
    """
    archive = cache / f"{release.name}.tar"
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        made = cache / release.name
        shutil.rmtree(made, ignore_errors=True)  # of a run that was cut short
        _run(["debootstrap", "--variant=minbase", release.name, made, mirror()])
        draft = archive.with_suffix(".draft")
        _run(["tar", "--numeric-owner", "-C", made, "-cf", draft, "."])
        draft.rename(archive)
        shutil.rmtree(made)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _run(["tar", "--numeric-owner", "-C", folder, "-xpf", archive])
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
    _run(inside(root, "apt-get", "update", "-qq"))
    _run(inside(root, "apt-get", "install", "-qq", "-y", "--no-install-recommends", *names))


def build_deb(release: Release, source: Path, folder: Path, cache: Path, revision: int = 1) -> Path:
    """Build the package of `source` for a release into `folder`, and return its file."""
    version = _run([sys.executable, source / "scripts/version.py", "--debian"]).strip()
    work = folder / release.name
    root = make_root(release, cache, work / "root")
    add_packages(root, "python3-venv")
    wheels = _build_wheels(source, root / "wheels")
    tree = work / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    _make_environment(root, wheels, source / LOCK)
    (tree / "opt").mkdir(parents=True)
    shutil.move(root / "opt/headgate", tree / "opt/headgate")
    _write_documents(source, tree)
    config = _package_config(release, source, tree, f"{version}-{revision}+deb{release.number}")
    described = work / "nfpm.yaml"
    with described.open("w") as opened:
        YAML(typ="safe").dump(config, opened)
    target = folder / f"headgate_{config['version']}_{config['arch']}.deb"
    _run([PROGRAMS / "nfpm", "package", "-f", described, "-p", "deb", "-t", target], folder=source)
    shutil.rmtree(work)
    return target


def _build_wheels(source: Path, folder: Path) -> Path:
    """Build the wheels of the project."""
    for distribution in (source, source / "client", source / "doctor"):
        build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
        _run(build, folder=distribution)
    return folder


def _make_environment(root: Path, wheels: Path, lock: Path) -> None:
    """Make /opt/headgate in a root folder, without pip, which only a build needs."""
    shutil.copy(lock, root / "run.txt")
    shutil.copy(AUTHORITIES, root / "authorities")  # this machine may know more than the release
    own = [f"/{wheels.name}/{path.name}" for path in wheels.glob("headgate*.whl")]
    pip = ("/pip/bin/pip", "--python", "/opt/headgate", "--quiet", "--disable-pip-version-check")
    install = (*pip, "install", "--no-deps", "--only-binary=:all:")
    index = {name: value for name, value in os.environ.items() if name in INDEX_VARIABLES}
    environment = {**INSIDE, **index, "PIP_CERT": "/authorities"}
    for command in (
        ("python3", "-m", "venv", "/pip"),
        ("python3", "-m", "venv", "--without-pip", "/opt/headgate"),
        (*install, "--require-hashes", "-r", "/run.txt"),
        (*install, *own),
        (*pip, "uninstall", "--yes", *BUILD_PACKAGES),
    ):
        _run(inside(root, *command, environment=environment))


def _write_documents(source: Path, tree: Path) -> None:
    """Write the man pages and the changelog, compressed as Debian has them."""
    pages = tree / "usr/share/man/man1"
    _run([sys.executable, ROOT / "scripts/man_pages.py", pages])
    documents = tree / "usr/share/doc/headgate"
    documents.mkdir(parents=True)
    shutil.copy(source / "CHANGELOG.md", documents / "changelog")
    for path in (*pages.iterdir(), documents / "changelog"):
        # Without a name and a time, the same text is the same file.
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
        path.unlink()


def _package_config(release: Release, source: Path, tree: Path, version: str) -> dict[str, Any]:
    """Return the configuration for nfpm: packages/deb/nfpm.yaml, completed for this build."""
    config: dict[str, Any] = YAML(typ="safe").load(source / "packages/deb/nfpm.yaml")
    major, minor = release.python
    # The environment has modules of this Python alone.
    python = (f"python3 (>= {major}.{minor})", f"python3 (<< {major}.{minor + 1})")
    config["depends"] = [*config["depends"], *python, f"libc6 (>= 2.{release.libc})"]
    config["contents"][0]["src"] = str(tree)
    machine = platform.machine()
    return {**config, "version": version, "arch": MACHINES.get(machine, machine)}


def _run(command: Sequence[str | Path], folder: Path = ROOT) -> str:
    """Run a command and return what it wrote, which is in the error if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(  # noqa: S603 - the words are ours
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise click.ClickException(f"{' '.join(words)} failed:\n{done.stdout}")
    return done.stdout


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("releases", nargs=-1, type=click.Choice(list(RELEASES)))
def main(folder: Path, releases: tuple[str, ...]) -> None:
    """Build packages for these releases of Debian, or for all, into FOLDER."""
    if os.geteuid() != 0:
        raise click.ClickException("only root can make root folders of a release: run it as root")
    os.umask(0o022)  # the files are for everybody to read
    for name in releases or RELEASES:
        click.echo(build_deb(RELEASES[name], ROOT, folder.absolute(), folder.absolute() / "roots"))


if __name__ == "__main__":
    main()
