"""The context of the image: an archive from which `docker build` makes an image of this version.

It has the files that an engine is sent, what says how the image is built, and what runs it. The
version and the revision are written into these, since there is no repository to ask.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
from docker.utils.build import exclude_paths

from scripts.release.archives import END, pack
from scripts.release.making import run, unpack
from scripts.release.replay import replay

if TYPE_CHECKING:
    from scripts.release.making import Release
    from scripts.release.replay import Image

BESIDE = (".dockerignore", "docker", "packages/kubernetes")  # not sent to an engine
VERSION, REVISION = "org.opencontainers.image.version", "org.opencontainers.image.revision"


def build(release: Release) -> None:
    """Make the archive."""
    source = release.source
    beside = [path for name in BESIDE for path in (source / name, *(source / name).rglob("*"))]
    files = {name: (source / name).read_bytes() for name in sent_files(source)}
    for path in filter(Path.is_file, beside):
        files[str(path.relative_to(source))] = _versioned(path.read_bytes(), release)
    pack(archive(release), files, release.moment)


def check(release: Release) -> None:
    """See that the image file makes an image of this version from the archive alone."""
    with tempfile.TemporaryDirectory(prefix="headgate-image-") as made:
        image = replay_archive(archive(release), Path(made))
        environment = (f"{name}={value}" for name, value in image.environment_here().items())
        said = run(("env", "--ignore-environment", *environment, *image.words("--version")))
    found = (said.split()[1], image.labels[VERSION], image.labels[REVISION])
    if found != (release.version, release.version, release.revision):
        raise click.ClickException(f"the image is {said} with the labels {image.labels}")


def archive(release: Release) -> Path:
    """Return where the archive is."""
    return release.folder / f"headgate-image-{release.version}{END}"


def replay_archive(context: Path, folder: Path) -> Image:
    """Return the image of an unpacked archive, made in an empty folder."""
    unpack(context, folder / "unpacked")
    (source,) = (folder / "unpacked").iterdir()
    return replay(source, sent_files(source), folder)


def sent_files(source: Path) -> list[str]:
    """Return the paths that the ignore file leaves, of which an engine is sent the files.

    The ignore file itself is sent, too, but no step finds it.
    """
    lines = (source / ".dockerignore").read_text().splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    found = sorted(exclude_paths(str(source), patterns) - {".dockerignore"})
    return [name for name in found if not (source / name).is_dir()]


def _versioned(content: bytes, release: Release) -> bytes:
    """Write the version and the revision where a clone has none."""
    text = content.decode()
    for found, put in (
        (r' --build-arg \w+="\$\(.*?\)"', ""),  # which ask the repository
        (r"(?m)^ARG REVISION\b.*$", f"ARG REVISION={release.revision}"),
        (r"(?m)^ARG HEADGATE_VERSION\b.*$", f"ARG HEADGATE_VERSION={release.version}"),
        (r"(\$\{REVISION:-)\w+", rf"\g<1>{release.revision}"),
        # A tag has no plus sign.
        (r"(image: \S+/headgate:)[\w.]+", rf"\g<1>{release.version.replace('+', '-')}"),
    ):
        text = re.sub(found, put, text)
    return text.encode()
