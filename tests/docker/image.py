"""The image of this tree, made of the archive that a release has of it."""

from __future__ import annotations

import fcntl
import json
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING

from scripts.release.image import archive, build, replay_archive
from scripts.release.making import Release, run
from scripts.release.replay import Image
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "0.1.0.dev20261128080000+g01234567"


def built_image(folder: Path) -> Image:
    """Return the image in this folder; the first process that asks builds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "image.json"
        if not done.exists():
            place = folder / "build"
            shutil.rmtree(place, ignore_errors=True)  # of a build that failed
            place.mkdir()
            revision = run(("git", "rev-parse", "HEAD")).strip()
            release = Release(ROOT, place, VERSION, 0, revision)
            build(release)
            done.write_text(json.dumps(asdict(replay_archive(archive(release), place))))
        return Image(**json.loads(done.read_text()))
