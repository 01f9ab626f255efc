"""Make a release of the commit that is checked out: `python -m scripts.release [PART]...`.

Every part is built from the files of the commit alone, as `git archive` has them: what is not
committed is never shipped, and two builds of a commit have the same files to begin with.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from scripts.release import debs, distributions, examples, image, materials, npm_package, trial
from scripts.release.folder import SUMS, emptied
from scripts.release.making import ROOT, NotMadeHere, Release, digest, run, unpack
from scripts.release.places import places, to_do
from scripts.version import RELEASE, version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# What a person has set for git changes no byte of a release.
AS_COMMITTED = (
    *("-c", "core.autocrlf=false", "-c", "core.eol=lf"),
    *("-c", "core.attributesFile=/dev/null", "-c", "tar.umask=0022"),
)


class Step(NamedTuple):
    """A part of the release, and what is done for it."""

    part: str
    does: tuple[Callable[[Release], None], ...]


STEPS = (
    Step("distributions", (distributions.build, distributions.check)),
    Step("npm", (npm_package.build, npm_package.check)),
    Step("examples", (examples.build,)),
    Step("image", (image.build, image.check)),
    Step("debs", (debs.build, debs.check)),
    Step("materials", (materials.build, materials.check)),  # last: they are those of the others
    Step("trial", (trial.build, trial.check)),
)


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), default=ROOT / "build/release", show_default=True
)
@click.option("--final", is_flag=True, envvar="FINAL", help="Refuse what may not be published.")
@click.argument("parts", nargs=-1, type=click.Choice([step.part for step in STEPS]))
def main(folder: Path, *, final: bool, parts: tuple[str, ...]) -> None:
    """Make these PARTS of a release, or the whole."""
    os.environ.pop("HEADGATE_VERSION", None)  # a release has the version of its commit
    if not (ROOT / ".git").exists():
        raise click.ClickException(f"a release is made of a commit, and {ROOT} is not a clone")
    found, form = version(), ("--no-patch", "--no-show-signature", "--format=%H %ct")
    revision, moment = run(("git", "show", *form, "HEAD")).split()
    missing = _missing(found)
    if final and missing:
        raise click.ClickException("\n".join(("this is not to be published:", *missing)))
    os.umask(0o022)  # the files are for everybody to read
    os.environ |= {
        "HEADGATE_VERSION": found,
        "SOURCE_DATE_EPOCH": moment,
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
    }
    with emptied(folder), tempfile.TemporaryDirectory(prefix="headgate-release-") as made:
        source = _files_of(revision, Path(made))
        release = Release(source, folder.absolute(), found, int(moment), revision)
        left = make(release, (step for step in STEPS if not parts or step.part in parts))
        write_sums(release)
    for line in missing:
        click.echo(f"To be done before it is published: {line}")
    if left:
        click.echo(f"Not made here: {'; '.join(left)}.")


def _missing(found: str) -> list[str]:
    """Return what there is to do before this commit may be published."""
    missing = [] if found == RELEASE else [f"HEAD has no tag v{RELEASE}: this is {found}"]
    if changed := run(("git", "status", "--porcelain")).splitlines():
        missing.append(f"{len(changed)} files are not as committed; a release has none of that")
    files = run(("git", "ls-files", "-z")).split("\0")[:-1]
    return missing + to_do(places(ROOT, files))


def _files_of(revision: str, folder: Path) -> Path:
    archive, source = folder / "source.tar", folder / "source"
    run(("git", *AS_COMMITTED, "archive", "--format=tar", "--output", archive, revision))
    unpack(archive, source)
    return source


def make(release: Release, steps: Iterable[Step]) -> list[str]:
    """Make the parts, say how long each took, and return what cannot be made here."""
    left = []
    for step in steps:
        began = time.monotonic()
        try:
            for does in step.does:
                does(release)
        except NotMadeHere as why:
            left.append(str(why))
        click.echo(f"{time.monotonic() - began:6.1f} s  {step.part}")
    return left


def write_sums(release: Release) -> None:
    """Write the checksums for `sha256sum --check`, and list the files."""
    lines = []
    for path in release.files("*"):
        summed = digest(path)
        lines.append(f"{summed}  {path.name}\n")
        click.echo(f"{summed}  {path.stat().st_size:>12,}  {path.name}")
    (release.folder / SUMS).write_text("".join(lines))


if __name__ == "__main__":
    main()
