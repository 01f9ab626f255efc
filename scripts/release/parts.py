"""What the distributions are made of: the wheels that the locks name, and what these say."""

from __future__ import annotations

import email
import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import ZipFile

import click
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from scripts.release import caddy
from scripts.release.licences import READ
from scripts.release.making import WHEELS, digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

LOCKS = ("requirements/run.txt", "requirements/front.txt")
LOCKED = re.compile(
    r"^(?P<name>\S+)==(?P<version>\S+)(?: ; (?P<when>.+?))? \\\n(?P<hashes>(?: +--hash=.+\n)+)",
    re.M,
)
# In the metadata of a wheel, below its folder. A PATENTS or AUTHORS file asks for nothing.
TEXTS = re.compile(r"(?:licenses/)?(?P<name>.*(?:LICEN[CS]E|COPYING|NOTICE)[^/]*)", re.I)
INTERPRETER = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "sys_platform": "linux",
}


class Part(NamedTuple):
    """Something with a version and a licence of its own."""

    purl: PackageURL
    licence: str  # an expression of SPDX, or what else its makers say
    texts: Mapping[str, str] = {}  # of the licence and notices, by the names of their files
    hashes: tuple[str, ...] = ()  # SHA-256 of each file that the lock allows, or of the one file
    when: str = ""  # the environments in which it is installed, if not in all
    needs: tuple[Requirement, ...] = ()
    within: tuple[Part, ...] = ()  # what was compiled into it

    @property
    def name(self) -> str:
        """The name with the namespace, as its users write it."""
        return "/".join(filter(None, (self.purl.namespace, self.purl.name)))

    @property
    def version(self) -> str:
        """Return the version, which each part has."""
        return self.purl.version or ""


def locked_packages(source: Path) -> dict[str, re.Match[str]]:
    """Return what the locks of the server and its front name, by name."""
    texts = [(source / lock).read_text() for lock in LOCKS]
    return {found["name"]: found for text in texts for found in LOCKED.finditer(text)}


def known_parts(source: Path, own: Iterable[Path]) -> dict[str, Part]:
    """Return a part for each wheel of ours and each package of the locks, by name."""
    parts = {}
    for path in own:
        parts[_name(path)[0]] = wheel_part(path, source, (digest(path),))
    wheels = {_name(wheel): wheel for wheel in sorted(WHEELS.glob("*.whl"))}
    for name, lock in locked_packages(source).items():
        wheel = wheels.get((name, lock["version"]))
        if wheel is None:
            raise click.ClickException(f"{WHEELS} has no wheel of {name}: run `make setup-all`")
        hashes = tuple(re.findall(r"--hash=sha256:(\w+)", lock["hashes"]))
        parts[name] = wheel_part(wheel, source, hashes)._replace(when=lock["when"] or "")
    return parts


def _name(wheel: Path) -> tuple[str, str]:
    name, version, *_ = parse_wheel_filename(wheel.name)
    return name, str(version)


def wheel_part(wheel: Path, source: Path, hashes: tuple[str, ...]) -> Part:
    """Return what a wheel says of itself, and of what was compiled into it."""
    with ZipFile(wheel) as opened:
        (metadata,) = (one for one in opened.namelist() if one.endswith(".dist-info/METADATA"))
        folder = metadata.removesuffix("METADATA")
        files = [one for one in opened.namelist() if not one.endswith("/")]
        said = {one.removeprefix(folder): one for one in files if one.startswith(folder)}
        texts = {
            found["name"]: opened.read(one).decode()
            for name, one in sorted(said.items())
            if (found := TEXTS.fullmatch(name))
        }
        # PEP 770: what the makers of a wheel know of what they have compiled into it.
        within = [
            _compiled(component)
            for name, one in sorted(said.items())
            if name.startswith("sboms/")
            for component in json.loads(opened.read(one))["components"]
        ]
        message = email.message_from_bytes(opened.read(metadata))
        name = canonicalize_name(message["Name"])
        if name == caddy.WHEEL:
            within = [
                _module(one) for one in caddy.modules_with_licences(source, caddy.program_of(wheel))
            ]
            (itself,) = (one for one in within if one.name == caddy.ITSELF)
            texts = dict(itself.texts)
    return Part(
        purl=PackageURL("pypi", None, name, message["Version"]),
        licence=READ.get(name) or message["License-Expression"] or message["License"] or "",
        texts=texts,
        hashes=hashes,
        needs=tuple(map(Requirement, message.get_all("Requires-Dist", ()))),
        within=tuple(within),
    )


def _compiled(component: Mapping[str, Any]) -> Part:
    """Return a component of the SBOM in a wheel."""
    purl = PackageURL.from_string(component["purl"])
    stated = [
        one.get("expression") or one["license"].get("id") for one in component.get("licenses", ())
    ]
    return Part(purl, " AND ".join(filter(None, stated)) or READ.get(purl.name, ""))


def _module(module: caddy.Module) -> Part:
    namespace, _, name = module.path.rpartition("/")
    purl = PackageURL("golang", namespace, name, module.version)
    return Part(purl, module.licence, module.texts)


def closure(wanted: str, known: Mapping[str, Part], python: tuple[int, int]) -> dict[str, set[str]]:
    """Return the names of what is installed with a requirement, each with those that it needs."""
    version = "{}.{}".format(*python)
    environment = {**INTERPRETER, "python_version": version, "python_full_version": f"{version}.0"}
    needs: dict[str, set[str]] = defaultdict(set)
    waiting, seen = [Requirement(wanted)], set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in known:
            raise click.ClickException(f"{requirement} is needed, and no lock has it")
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            found = [
                need
                for need in known[name].needs
                if need.marker is None or need.marker.evaluate({**environment, "extra": extra})
            ]
            needs[name] |= {canonicalize_name(need.name) for need in found}
            waiting += found
    return dict(needs)
