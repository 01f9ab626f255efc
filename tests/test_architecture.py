"""The shape of the tree, where no linter sees it."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("gateway", "admin", "cdn_configs", "client/headgate")
LONGEST_MODULE = 400
MOST_MODULES = 16  # so many are still taken in at a glance
# Classes that have a name in common on purpose.
NAMESAKES = {
    # Errors of the server, and what a client raises when it is told of them.
    *("BadRequest", "ProducerFenced", "StreamClosed", "StreamGone", "StreamNotFound"),
    # For asyncio, and for threads.
    *("Answer", "Chats", "Job", "JobStream", "Runs", "StreamWriter", "WebhookReceiver"),
    "Worker",
    # The step of a handler, and the one that a source of an answer gives.
    "Step",
}
NOT_SOURCES = {
    ".git",
    ".hypothesis",
    ".import_linter_cache",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    "__pycache__",
    "bin",
    "build",
    "dist",
    "headgate-data",
    "node_modules",
    "test-failures",
}

# Run by a fresh interpreter: imports our modules and prints what they did besides, and which did.
WATCH_IMPORTS = """
import importlib, json, logging, os, signal, sys, threading

ours, libraries = json.loads(sys.argv[1]), sys.argv[2:]
changes = {"os.mkdir", "os.remove", "os.rename", "os.fork", "os.system", "os.putenv", "os.unsetenv"}
found = []

def watch(event, arguments):
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        deed = f"opens {arguments[0]} for writing"
    elif event in changes or event.startswith(("socket.", "subprocess.", "shutil.")):
        deed = f"calls {event}"
    else:
        return
    frame = sys._getframe()
    while frame and frame.f_globals.get("__name__") not in ours:
        frame = frame.f_back
    if frame:
        found.append(f"{frame.f_globals['__name__']} {deed}")

for name in libraries:  # these may do what they must
    importlib.import_module(name)
handlers = [signal.getsignal(number) for number in signal.valid_signals()]
sys.addaudithook(watch)
for name in ours:
    importlib.import_module(name)
if threading.active_count() > 1:
    found.append("a module starts a thread")
if logging.getLogger().handlers:
    found.append("a module sets logging up")
if handlers != [signal.getsignal(number) for number in signal.valid_signals()]:
    found.append("a module handles a signal")
print(json.dumps(found))
"""


def sources(*tops: str) -> Iterator[Path]:
    for top in tops:
        for folder, folders, files in os.walk(ROOT / top):
            folders[:] = [name for name in folders if name not in NOT_SOURCES]
            yield from (Path(folder, name).relative_to(ROOT) for name in files)


def modules() -> list[str]:
    """Dotted names of all modules that ship."""
    paths = (path.with_suffix("") for path in sources(*PACKAGES) if path.suffix == ".py")
    names = (".".join(path.parts).removeprefix("client.") for path in paths)
    return sorted(name.removesuffix(".__init__") for name in names)


def layers() -> list[str]:
    """The layers contract, top to bottom, as import-linter reads it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    rows: list[str] = next(one["layers"] for one in contracts if one["type"] == "layers")
    return [name.strip() for row in rows for name in row.split("|")]


def test_importing_a_module_has_no_side_effects(tmp_path: Path) -> None:
    libraries = ("asyncio", "aiohttp.web", "apsw", "structlog")
    run = subprocess.run(
        [sys.executable, "-B", "-c", WATCH_IMPORTS, json.dumps(modules()), *libraries],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr, run.stdout) == (0, "", "[]\n")
    assert list(tmp_path.iterdir()) == []


def test_every_part_of_the_gateway_is_on_a_layer() -> None:
    parts = {".".join(name.split(".")[:2]) for name in modules()} - {"gateway"}
    parts = {part if part.startswith("gateway.") else part.split(".")[0] for part in parts}
    assert parts == set(layers())


def test_the_tree_in_contributing_names_existing_paths_and_every_layer() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    tree = re.search(r"```text\n(.*?)```", text, re.DOTALL)
    assert tree is not None
    named = [part.split()[0] for line in tree[1].splitlines() for part in line.split(" · ")]
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []
    unnamed = [layer for layer in layers() if layer.replace(".", "/") not in tree[1]]
    assert unnamed == []


@pytest.mark.parametrize("top", PACKAGES)
def test_no_module_is_longer_than_the_limit_of_lines(top: str) -> None:
    lines = {
        str(path): len((ROOT / path).read_text().splitlines())
        for path in sources(top)
        if path.suffix == ".py"
    }
    assert {path: count for path, count in lines.items() if count > LONGEST_MODULE} == {}


@pytest.mark.parametrize("top", PACKAGES)
def test_no_package_has_more_modules_than_the_limit(top: str) -> None:
    folders = Counter(
        str(path.parent)
        for path in sources(top)
        if path.suffix == ".py" and path.name != "__init__.py"
    )
    assert {folder: count for folder, count in folders.items() if count > MOST_MODULES} == {}


@pytest.mark.parametrize("top", PACKAGES)
def test_every_package_has_a_docstring(top: str) -> None:
    silent = [
        str(path)
        for path in sources(top)
        if path.name == "__init__.py"
        and ast.get_docstring(ast.parse((ROOT / path).read_text())) is None
    ]
    assert silent == []


def test_class_names_are_unique_except_for_the_listed_ones() -> None:
    """Readers find one class by its name, in an editor and in a traceback."""
    places: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sources(package):
            if path.suffix == ".py":
                for node in ast.walk(ast.parse((ROOT / path).read_text())):
                    if isinstance(node, ast.ClassDef):
                        places.setdefault(node.name, []).append(f"{path}:{node.lineno}")
    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in shared.items() if name not in NAMESAKES} == {}
    assert set(shared) >= NAMESAKES, "these have no namesake any more"


def test_no_file_names_a_package_registry() -> None:
    """Installing goes through whatever index a machine is set up with, a mirror included."""
    host = re.compile(rb"(pypi|pythonhosted|npmjs|yarnpkg)\.(org|com)")
    found = [str(path) for path in sources(".") if host.search((ROOT / path).read_bytes())]
    assert found == []


def test_no_pattern_repeats_a_group_possessively() -> None:
    """Debian 12's Python, 3.11.2, counts what a failed last round of it has begun as matched."""
    loaded = [importlib.import_module(name) for name in modules()]
    patterns = {
        value.pattern
        for module in loaded
        for value in vars(module).values()
        if isinstance(value, re.Pattern) and isinstance(value.pattern, str)
    }
    assert len(patterns) > 20
    bare = {pattern: re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]])*\]", "", pattern) for pattern in patterns}
    assert [pattern for pattern, rest in bare.items() if re.search(r"\)[*+?}]\+", rest)] == []
