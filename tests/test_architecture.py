"""The shape of the tree, where no linter sees it; one pass over the sources serves all rules."""

from __future__ import annotations

import ast
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

from tests.support.syntax import statements

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("gateway", "admin", "cdn_configs", "client/headgate", "doctor")
LONGEST_MODULE = 400
MOST_MODULES = 16  # so many are still taken in at a glance
MOST_METHODS = 20
MOST_ATTRIBUTES = 16
MOST_LINES = 50  # of a function, with its docstring
# Declarations have an attribute for each thing that is declared; splitting one would hide some.
DECLARATIONS = {
    "CdnTarget": "a target as the console shows it",
    "LogKind": "what settings, console, alerts and commands ask of a kind of log",
    "Options": "one for each option of `headgate cdn render`",
    "Overview": "one for each figure of the first page",
    "Route": "one for each setting of a route",
    "Settings": "one for each setting",
    "StreamState": "one for each column of a stream",
    "Target": "one for each feature of a CDN or proxy",
    "ActiveStream": "50,000 are in memory: an object more for each stream takes 5 MB more",
    "CachedResponse": "one for each decision on a response",
    "Services": "one for each part of a worker that all its routes share",
    "Exchange": "one for each thing that counts and the access log need of a request",
}
# With these a sentence begins whose subject is elsewhere.
LEANS_ON_ANOTHER = re.compile(
    r"(The same|Of|One|It|Who|Whom|Whose|What|How|When|Where|Whether|That|Those|Nobody|Somebody"
    r"|Everybody|They|He|She|Which|Why)\b"
)
# With these the docstring of a function begins that names no action.
NO_VERB = re.compile(
    r"(A|After|All|Also|An|Another|Any|As|At|Because|Before|Bytes|Every|Everything|Fields|For|From"
    r"|Has|Here|If|In|Is|Its|Lines|More|Never|No|None|Not|Nothing|Now|On|Once|Only|Other|Rows|Seconds"
    r"|Section|Sections|Something|Text|The|Then|There|This|To|True|Under|Until|Up|Whatever|While"
    r"|Whoever|With|Without)\b|[^A-Z]"
)
Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function
# Classes that have a name in common on purpose.
NAMESAKES = {
    # Errors of the server or a log, and what a client raises for the response to them.
    *("BadRequest", "Conflict", "StreamNotFound"),
    # For asyncio, and for threads.
    *("Answer", "Chats", "Client", "Job", "JobStream", "Runs", "Stream", "StreamIterator"),
    *("StreamWriter", "Worker"),
    # Of the server's requests: a step of a handler, what equal ones have in common, one of them.
    # The library's: a step of an answer's source, what is stored and when, what a reader asks.
    *("Ask", "Plan", "Step"),
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

# Run by a fresh interpreter: imports our modules and prints what they did besides, and which did;
# then the patterns that they have.
WATCH_IMPORTS = """
import importlib, json, logging, os, re, signal, sys, threading

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
values = [value for name in ours for value in vars(sys.modules[name]).values()]
patterns = {value.pattern for value in values if isinstance(value, re.Pattern)}
print(json.dumps([found, [it for it in patterns if isinstance(it, str)]]))
"""


def sources(*tops: str) -> Iterator[Path]:
    for top in tops:
        for folder, folders, files in os.walk(ROOT / top):
            folders[:] = [name for name in folders if name not in NOT_SOURCES]
            here = Path(folder).relative_to(ROOT)
            yield from (here / name for name in files)


def modules() -> list[str]:
    """Dotted names of all modules that ship."""
    paths = (path.with_suffix("") for path in sources(*PACKAGES) if path.suffix == ".py")
    names = (".".join(path.parts[1:]) for path in paths)
    return sorted(name.removesuffix(".__init__") for name in names)


def layers() -> list[str]:
    """The layers contract, top to bottom, as import-linter reads it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    rows: list[str] = next(one["layers"] for one in contracts if one["type"] == "layers")
    return [name.strip() for row in rows for name in row.split("|")]


@pytest.mark.usefixtures("processes")
def test_importing_a_module_has_no_side_effects_and_no_pattern_that_old_pythons_misread(
    tmp_path: Path,
) -> None:
    libraries = ("asyncio", "aiohttp.web", "apsw")
    run = subprocess.run(
        [sys.executable, "-B", "-c", WATCH_IMPORTS, json.dumps(modules()), *libraries],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    deeds, patterns = json.loads(run.stdout)
    assert deeds == []
    assert list(tmp_path.iterdir()) == []
    # Debian 12's Python, 3.11.2, counts what a failed last round of a possessive group has begun.
    assert len(patterns) > 20
    bare = {pattern: re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]])*\]", "", pattern) for pattern in patterns}
    assert [pattern for pattern, rest in bare.items() if re.search(r"\)[*+?}]\+", rest)] == []


def test_campaigns_and_benchmarks_are_imported_by_no_test_but_their_own() -> None:
    imported = re.compile(r"^\s*(?:from|import) (?:benchmarks|campaigns)\b", re.MULTILINE)
    importing = {
        str(path.parent)
        for path in sources("tests", *PACKAGES)
        if path.suffix == ".py" and imported.search((ROOT / path).read_text())
    }
    assert importing == {"tests/benchmarks"}


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (
            "gateway/headgate_gateway/web/requests/request_head.py",
            "from aiohttp.http import HttpRequestParser",
        ),
        (
            "gateway/headgate_gateway/origin/reader.py",
            "from aiohttp.http import HttpResponseParser",
        ),
        (
            "gateway/headgate_gateway/outbound/client.py",
            "from aiohttp import ClientResponse, ClientSession",
        ),
        ("admin/headgate_admin/app.py", "from aiohttp import web"),
    ],
)
def test_parsers_console_and_requests_of_the_server_are_of_aiohttp(module: str, name: str) -> None:
    assert name in (ROOT / module).read_text()


def test_no_other_http_client_is_imported_than_that_of_aiohttp() -> None:
    others = re.compile(
        r"^\s*(?:from|import) (http\.client|urllib\.request|urllib3|requests|httpx)\b", re.MULTILINE
    )
    importing = {
        str(path)
        for path in sources("gateway", "admin")
        if path.suffix == ".py" and others.search((ROOT / path).read_text())
    }
    # A command that starts often.
    assert importing == {"gateway/headgate_gateway/commands/doctor/health.py"}


def test_the_page_of_helpers_lists_each_module_that_tests_share() -> None:
    text = (ROOT / "tests/support/README.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    names = {path.stem for path in (ROOT / "tests/support").glob("*.py")} - {"__init__"}
    assert sorted(listed) == sorted(name for name in names if not name.startswith("test_"))


def test_the_tree_in_contributing_names_existing_paths_and_every_layer() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    tree = re.search(r"```text\n(.*?)```", text, re.DOTALL)
    assert tree is not None
    named, folder = [], ""
    for line in tree[1].splitlines():
        entry = re.split(r" {2,}", line.strip())[0]
        if not line.startswith(" "):
            folder = entry
            named.append(entry)
        else:  # below the last folder that is not indented
            named += [f"{folder}{name}" for name in entry.split(", ")]
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []
    dotted = {
        name.split("/", 1)[-1].rstrip("/").removesuffix(".py").replace("/", ".") for name in named
    }
    unnamed = [layer for layer in layers() if layer not in dotted]
    assert unnamed == []


# A part of the tree, and a file without which it is of no use.
PARTS = {
    "pyproject.toml": "",
    "gateway": "headgate_gateway/entry.py",
    "admin": "headgate_admin/app.py",
    "cdn_configs": "headgate_cdn/render.py",
    "doctor": "headgate_doctor/command.py",
    "tests": "conftest.py",
    "docker": "Dockerfile",
    "docs": "architecture.md",
}
SHIPPED = ["gateway/headgate_gateway", "admin/headgate_admin", "cdn_configs/headgate_cdn"]


@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_the_tree_is_at_its_top(part: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert (ROOT / part / PARTS[part]).is_file()
    assert project["project"]["name"] == "headgate"
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == SHIPPED
    assert project["tool"]["pytest"]["testpaths"] == ["tests"]


def test_the_distribution_needs_python_and_the_libraries_that_it_is_made_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["requires-python"] == ">=3.11"
    assert project["project"]["scripts"] == {"headgate": "headgate_gateway.entry:main"}
    needed = {re.split(r"[^\w.-]", one)[0] for one in project["project"]["dependencies"]}
    assert needed >= {"aiohttp", "redis", "jinja2", "prometheus-client"}
    played = {str(one).partition(">")[0] for one in project["dependency-groups"]["test"]}
    assert played >= {"pytest", "pytest-aiohttp"}


class Found:
    """What one pass over the sources finds: rules that are broken, and exemptions in use."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self.class_places: dict[str, list[str]] = {}
        self.declarations: set[str] = set()
        modules: Counter[str] = Counter()
        for path in sources(*PACKAGES):
            if path.suffix == ".py":
                modules[str(path.parent)] += path.name != "__init__.py"
                self._look_at(path)
        self._check_counts("modules", MOST_MODULES, modules)

    def _look_at(self, path: Path) -> None:
        text = (ROOT / path).read_text()
        self._check_counts("lines", LONGEST_MODULE, {str(path): len(text.splitlines())})
        tree = ast.parse(text)
        if path.name == "__init__.py" and ast.get_docstring(tree) is None:
            self.broken.append(f"{path} has no docstring")
        for node in within(tree):
            if isinstance(node, Documented):
                place = f"{path}: {getattr(node, 'name', 'the module')}"
                self._check_docstring(place, node)
                if isinstance(node, ast.ClassDef):
                    self.class_places.setdefault(node.name, []).append(place)
                    self._check_class(place, node)
                elif isinstance(node, Function):
                    lines = (node.end_lineno or 0) - node.lineno + 1
                    self._check_counts("lines", MOST_LINES, {place: lines})

    def _check_counts(self, what: str, most: int, counts: Mapping[str, int]) -> None:
        found = (f"{place} has {it} {what}" for place, it in counts.items() if it > most)
        self.broken.extend(found)

    def _check_class(self, place: str, node: ast.ClassDef) -> None:
        methods = sum(isinstance(it, Function) for it in node.body)
        self._check_counts("methods", MOST_METHODS, {place: methods})
        if (count := len(attributes(node))) > MOST_ATTRIBUTES:
            self.declarations.add(node.name)
            if node.name not in DECLARATIONS:
                self.broken.append(f"{place} has {count} attributes")

    def _check_docstring(self, place: str, node: ast.AST) -> None:
        assert isinstance(node, Documented)
        text = ast.get_docstring(node) or ""
        if LEANS_ON_ANOTHER.match(text) or (text and is_action(node) and NO_VERB.match(text)):
            self.broken.append(f"{place} has a docstring that does not stand alone: {text[:40]}")


def within(node: ast.AST) -> Iterator[ast.AST]:
    """A node and the statements in it, without their expressions, which are most of a module."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += statements(node)


def assigned(node: ast.AST) -> Iterator[ast.AST]:
    """What a statement assigns to."""
    items = (item.optional_vars for item in getattr(node, "items", ()))
    for target in (*getattr(node, "targets", ()), getattr(node, "target", None), *items):
        if target is not None:
            yield from ast.walk(target)


def attributes(found: ast.ClassDef) -> set[str]:
    """The attributes of an instance: those that are declared, and those assigned to self."""
    declared = {
        node.target.id
        for node in found.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return declared | {
        node.attr
        for statement in within(found)
        for node in assigned(statement)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def is_action(node: ast.AST) -> bool:
    """Whether a docstring describes a call, and no value; that of `__init__` has its parameters."""
    return (
        isinstance(node, Function)
        and node.name != "__init__"
        and not any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
    )


def test_modules_classes_functions_and_docstrings_keep_to_their_rules() -> None:
    """Their sizes, names that are unique in an editor, and sentences that stand alone."""
    found = Found()
    shared = {name: places for name, places in found.class_places.items() if len(places) > 1}
    assert found.broken == []
    assert {name: places for name, places in shared.items() if name not in NAMESAKES} == {}
    assert set(shared) >= NAMESAKES, "these have no namesake any more"
    assert found.declarations == DECLARATIONS.keys()


def test_no_file_names_a_package_registry() -> None:
    """Installing goes through whatever index a machine is set up with, a mirror included."""
    host = re.compile(rb"(pypi|pythonhosted|npmjs|yarnpkg)\.(org|com)")
    found = [str(path) for path in sources(".") if host.search((ROOT / path).read_bytes())]
    assert found == []
