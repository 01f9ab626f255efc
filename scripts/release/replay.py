"""The image, built step by step as its file says, in folders instead of layers.

The root folder of a stage is one of this machine's, and the paths in a step are led into it. Beside
that each step is carried out as it stands: the files are those that the ignore file leaves, the
packages those of the lock with their hashes, and nothing is asked of a registry. The stand-in for
the base image is a virtual environment of this machine's Python.

What only an engine can do is left out: layers, the account of the server, and its rights to files.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import string
import sysconfig
import venv
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from scripts.release.making import WHEELS, run

if TYPE_CHECKING:
    from collections.abc import Iterable

SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
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
    """A root folder with everything that the steps put there, and the settings of a container."""

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
        own = {name: self.here(value) for name, value in self.environment.items()}
        return {"PATH": SYSTEM_PATH, "HOME": str(self.path("/data")), **own}

    def _found(self, words: list[str]) -> list[str]:
        path = self.environment_here()["PATH"]
        program = shutil.which(words[0], path=path)
        if program is None:
            raise click.ClickException(f"{words[0]} is not in {path}")
        return [program, *words[1:]]


class Step(NamedTuple):
    """One instruction of the image file, such as RUN, and what stands behind it."""

    instruction: str
    words: str


def steps(file: Path) -> list[Step]:
    """Return what an image file says, each instruction in one line."""
    lines = file.read_text().splitlines(keepends=True)
    # A comment may stand amid the lines of one instruction, and ends none.
    text = "".join(line for line in lines if not line.lstrip().startswith("#"))
    whole = re.sub(r"\\\n\s*", "", text).splitlines()
    return [Step(*line.split(maxsplit=1)) for line in whole if line.strip()]


def replay(source: Path, sent: Iterable[str], folder: Path) -> Image:
    """Return the image of the files in `source` that are sent to an engine, made in a folder."""
    for name in sent:
        place = folder / "context" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, place, follow_symlinks=False)  # its target may stay out
    build = _Build(folder)
    for step in steps(source / "docker/Dockerfile"):
        build.carry_out(step)
    return build.image


class _Build:
    """The steps of the image file, carried out one after the other."""

    def __init__(self, folder: Path) -> None:
        self._context = folder / "context"
        self._root = folder / "root"
        self._arguments: dict[str, str] = {}
        self.image = Image(str(self._root))
        self._name = ""  # of the stage
        self._tools = folder / "tools"
        self._tools.mkdir()
        for name in TOOLS:
            (self._tools / name).symlink_to(shutil.which(name, path=SYSTEM_PATH) or name)
        for name, script in STAND_INS.items():
            program = self._tools / name
            program.write_text(f"#!/bin/sh\nset -eu\n{script}\n")
            program.chmod(0o755)

    def carry_out(self, step: Step) -> None:
        """Carry out an instruction of the image file."""
        getattr(self, f"_{step.instruction.lower()}")(step.words)

    def _from(self, words: str) -> None:
        """Begin a stage at the path of the one before, which is moved aside under its name.

        Programs name the path where they were installed, so all stages have to be at the same path.
        """
        image, *name = words.split(" AS ")
        if self._root.exists():
            self._root.rename(self._root.with_name(self._name))
        self._name = "".join(name)
        self.image = Image(str(self._root), {"PATH": f"/usr/local/bin:{SYSTEM_PATH}"})
        self._arguments = {}
        version = re.fullmatch(r"python:(\d\.\d+)-slim", image)
        if version is None:
            raise click.ClickException(f"no stand-in for {image}")
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
        self._arguments[name] = default

    def _workdir(self, words: str) -> None:
        self.image.folder = words
        self.image.path(words).mkdir(parents=True, exist_ok=True)

    def _run(self, words: str) -> None:
        paths = re.findall(r"(?<![\w.])/\w[^\s\"]*", words)
        outside = [path for path in paths if OWN_PATHS.match(path) is None]
        if outside:
            raise click.ClickException(f"RUN {words} would change this machine: see OWN_PATHS")
        environment = {
            **self.image.environment_here(),
            **self._arguments,
            "IMAGE_ROOT": str(self._root),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_FIND_LINKS": str(WHEELS),
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        found = environment["PATH"].removesuffix(SYSTEM_PATH)
        environment["PATH"] = f"{self._tools}:{found}".rstrip(":")
        variables = (f"{name}={value}" for name, value in environment.items())
        shell = ("/bin/sh", "-c", self.image.here(words))
        command = ("env", "--ignore-environment", *variables, *shell)
        run(command, folder=self.image.path(self.image.folder))

    def _copy(self, words: str) -> None:
        *sources, target = words.split()
        root = self._context
        if sources[0].startswith("--from="):
            root = self._root.with_name(sources.pop(0).partition("=")[2])
        place = self.image.path(os.path.join(self.image.folder, target))  # noqa: PTH118 # may be absolute
        for source in sources:
            found = root / source.lstrip("/")
            if found.is_dir():
                _link_tree(found, place)
            else:
                if not target.endswith("/"):
                    raise click.ClickException(f"COPY {words}: say that it is a folder")
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, place)

    def _env(self, words: str) -> None:
        self.image.environment |= self._pairs(words)

    def _label(self, words: str) -> None:
        self.image.labels |= self._pairs(words)

    def _pairs(self, words: str) -> dict[str, str]:
        values = {**self._arguments, **self.image.environment}
        pairs = (word.split("=", 1) for word in shlex.split(words))
        return {name: string.Template(value).substitute(values) for name, value in pairs}

    def _healthcheck(self, words: str) -> None:
        self.image.health_check = json.loads(words.partition("CMD ")[2])

    def _entrypoint(self, words: str) -> None:
        self.image.entry_point = json.loads(words)

    def _cmd(self, words: str) -> None:
        self.image.command = json.loads(words)

    def _only_for_engines(self, words: str) -> None:
        """Leave what tells an engine how to run a container."""

    _user = _volume = _expose = _only_for_engines


def _link_tree(source: Path, target: Path) -> None:
    """Put the files of a folder into another one; no step changes a file in place."""

    def link(one: str, other: str) -> None:
        Path(other).unlink(missing_ok=True)
        os.link(one, other)

    shutil.copytree(source, target, symlinks=True, copy_function=link, dirs_exist_ok=True)
