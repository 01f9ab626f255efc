"""The image, built step by step as its file says, in folders instead of layers.

The root folder of a stage is one of the test's, and the paths in a step are led into it. Beside
that each step is carried out as it stands: the files are those that the ignore file leaves, the
packages those of the lock with their hashes, and nothing is asked of a registry. The stand-in for
the base image is a virtual environment of this machine's Python.

What only an engine can do is left out: layers, the account of the server, and its rights to files.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import string
import subprocess
import sys
import sysconfig
import venv
from dataclasses import asdict, dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

from docker.utils.build import exclude_paths

from tests.docker.image_file import stages
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

WHEELS = Path(sys.prefix, "wheels")  # the lock's, which `make setup-all` fetches
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
REVISION = "0123456789abcdef0123456789abcdef01234567"
VERSION = "0.1.0.dev20261128080000+g01234567"
# Paths of an image: whatever else a step names is the same program or folder on this machine.
OWN_PATHS = re.compile(r"(?<![\w.])(/(?:opt|usr/local|src|data)(?=[/:;\s\"]|$))")
# Programs of this machine that a step may run: none that could do harm outside the root folder.
TOOLS = ("rm",)
# Only an engine makes accounts, and only root gives files to them.
STAND_INS = {
    "useradd": 'echo "$@" >> "$IMAGE_ROOT/accounts"',
    "install": """for word; do
    shift
    case $word in --owner=*) ;; *) set -- "$@" "$word" ;; esac
done
exec /usr/bin/install "$@" """,
}


@dataclass
class Image:
    """A root folder with everything that the steps put there, and what a container is told."""

    root: str
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    entry_point: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health_check: list[str] = field(default_factory=list)

    def path(self, path: str) -> Path:
        """Return where a path of the image is on this machine."""
        return Path(self.root, path.lstrip("/"))

    def here(self, text: str) -> str:
        """Return a text with the image's paths replaced by those below its root folder."""
        return OWN_PATHS.sub(rf"{self.root}\1", text)

    def words(self, *arguments: str) -> list[str]:
        """Return what a container runs with these arguments, or without any."""
        return self._found([*self.entry_point, *(arguments or self.command)])

    def checking_words(self) -> list[str]:
        """Return the command of the health check."""
        return self._found(self.health_check)

    def environment_here(self) -> dict[str, str]:
        """Return the environment of a container, and nothing of this machine's."""
        told = {name: self.here(value) for name, value in self.environment.items()}
        return {"PATH": SYSTEM_PATH, "HOME": str(self.path("/data")), **told}

    def _found(self, words: list[str]) -> list[str]:
        path = self.environment_here()["PATH"]
        program = shutil.which(words[0], path=path)
        assert program is not None, f"{words[0]} is not in {path}"
        return [program, *words[1:]]


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
            copy_context(place / "context")
            image = Build(place, {"REVISION": REVISION, "HEADGATE_VERSION": VERSION}).image()
            done.write_text(json.dumps(asdict(image)))
        return Image(**json.loads(done.read_text()))


def copy_context(target: Path, source: Path = ROOT) -> None:
    """Copy the files that the ignore file leaves, as they are sent to an engine.

    The ignore file itself is sent, too, but no step finds it.
    """
    lines = (source / ".dockerignore").read_text().splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    target.mkdir()
    for name in sorted(exclude_paths(str(source), patterns) - {".dockerignore"}):
        place = target / name
        if (source / name).is_dir() and not (source / name).is_symlink():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(
                source / name, place, follow_symlinks=False
            )  # what it leads to may stay out


class Build:
    """The steps of the image file, carried out one after the other."""

    def __init__(self, folder: Path, arguments: Mapping[str, str]) -> None:
        self._context = folder / "context"
        self._root = folder / "root"
        self._given = arguments
        self._arguments: dict[str, str] = {}
        self._image = Image(str(self._root))
        self._name = ""  # of the stage
        self._tools = folder / "tools"
        self._tools.mkdir()
        for name in TOOLS:
            (self._tools / name).symlink_to(shutil.which(name, path=SYSTEM_PATH) or name)
        for name, script in STAND_INS.items():
            program = self._tools / name
            program.write_text(f"#!/bin/sh\nset -eu\n{script}\n")
            program.chmod(0o755)

    def image(self) -> Image:
        """Carry out all stages, and return the last one's image."""
        for stage in stages():
            for instruction, words in stage:
                carry_out = getattr(self, f"_{instruction.lower()}")
                carry_out(words)
        return self._image

    def _from(self, words: str) -> None:
        """Begin a stage at the path of the one before, which is moved aside under its name.

        Programs name the path where they were installed, so all stages have to be at the same path.
        """
        image, *name = words.split(" AS ")
        if self._root.exists():
            self._root.rename(self._root.with_name(self._name))
        self._name = "".join(name)
        self._image = Image(str(self._root), {"PATH": f"/usr/local/bin:{SYSTEM_PATH}"})
        self._arguments = {}
        version = re.fullmatch(r"python:(\d\.\d+)-slim", image)
        assert version is not None, f"no stand-in for {image}"
        self._lay_base(version[1])

    def _lay_base(self, version: str) -> None:
        local, copy = self._root / "usr/local", self._root.with_name(f"python{version}")
        if copy.exists():
            _link_tree(copy, local)
            return
        venv.create(local, symlinks=True)
        (packages,) = local.glob("lib/python*/site-packages")
        # The pip of the tests: to have it unpacked and compiled anew would cost seconds.
        pip = distribution("pip")
        for name in ("pip", f"pip-{pip.version}.dist-info"):
            shutil.copytree(str(pip.locate_file(name)), packages / name, symlinks=True)
        program = local / "bin/pip"
        program.write_text(
            f"#!{local}/bin/python\nfrom pip import main\nraise SystemExit(main())\n"
        )
        program.chmod(0o755)
        # Such an image has its standard library there, too, and so what brings pip back.
        library = Path(sysconfig.get_paths()["stdlib"])
        shutil.copytree(library / "ensurepip", local / f"lib/python{version}/ensurepip")
        _link_tree(local, copy)

    def _arg(self, words: str) -> None:
        name, _, default = words.partition("=")
        self._arguments[name] = self._given.get(name, default)

    def _workdir(self, words: str) -> None:
        self._image.folder = words
        self._image.path(words).mkdir(parents=True, exist_ok=True)

    def _run(self, words: str) -> None:
        paths = re.findall(r"(?<![\w.])/\w[^\s\"]*", words)
        outside = [path for path in paths if OWN_PATHS.match(path) is None]
        assert outside == [], f"RUN {words} would change this machine: see OWN_PATHS"
        environment = {
            **self._image.environment_here(),
            **self._arguments,
            "IMAGE_ROOT": str(self._root),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_FIND_LINKS": str(WHEELS),
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        found = environment["PATH"].removesuffix(SYSTEM_PATH)
        environment["PATH"] = f"{self._tools}:{found}".rstrip(":")
        done = subprocess.run(
            ["/bin/sh", "-c", self._image.here(words)],
            cwd=self._image.path(self._image.folder),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"RUN {words}\n{done.stdout}"

    def _copy(self, words: str) -> None:
        *sources, target = words.split()
        root = self._context
        if sources[0].startswith("--from="):
            root = self._root.with_name(sources.pop(0).partition("=")[2])
        place = self._image.path(os.path.join(self._image.folder, target))  # noqa: PTH118 # may be absolute
        for source in sources:
            found = root / source.lstrip("/")
            if found.is_dir():
                _link_tree(found, place)
            else:
                assert target.endswith("/"), f"COPY {words}: say that it is a folder"
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, place)

    def _env(self, words: str) -> None:
        self._image.environment |= self._pairs(words)

    def _label(self, words: str) -> None:
        self._image.labels |= self._pairs(words)

    def _pairs(self, words: str) -> dict[str, str]:
        values = {**self._arguments, **self._image.environment}
        pairs = (word.split("=", 1) for word in shlex.split(words))
        return {name: string.Template(value).substitute(values) for name, value in pairs}

    def _healthcheck(self, words: str) -> None:
        self._image.health_check = json.loads(words.partition("CMD ")[2])

    def _entrypoint(self, words: str) -> None:
        self._image.entry_point = json.loads(words)

    def _cmd(self, words: str) -> None:
        self._image.command = json.loads(words)

    def _only_for_engines(self, words: str) -> None:
        """Leave what tells an engine how to run a container."""

    _user = _volume = _expose = _only_for_engines


def _link_tree(source: Path, target: Path) -> None:
    """Put the files of a folder into another one; no step changes a file in place."""

    def link(one: str, other: str) -> None:
        Path(other).unlink(missing_ok=True)
        os.link(one, other)

    shutil.copytree(source, target, symlinks=True, copy_function=link, dirs_exist_ok=True)
