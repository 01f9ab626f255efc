"""The Python programs that the pages print, as modules for type checkers."""

from __future__ import annotations

import re
import symtable
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    *sorted((ROOT / "docs/client").rglob("*.md")),
    *sorted((ROOT / "docs/examples").rglob("*.md")),
    *(ROOT / "README.md", ROOT / "client/README.md"),
)
PROGRAM = re.compile("^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
# The types of what parts of programs use; their pages show or describe it elsewhere.
NAMES = {
    "ISSUER": "str",
    "app": "fastapi.FastAPI",
    "confirm": "collections.abc.Callable[[str, object], typing.Any]",
    "handle": "collections.abc.Callable[[headgate.Job], collections.abc.Awaitable[None]]",
    "hg": "headgate.Client",
    "job": "headgate.Job",
    "make_test_stream": "collections.abc.Callable[[], collections.abc.AsyncIterator[str]]",
    "model": "openai.AsyncOpenAI",
    "produce": "collections.abc.Callable[[str], collections.abc.AsyncGenerator[object]]",
    "question": "str",
    "run_id": "str",
    "runs": "headgate.Runs",
    "save": "collections.abc.Callable[[str, list[object]], collections.abc.Awaitable[None]]",
    "stream_id": "str",
    "streams": "headgate.ResumableStreams",
    "tasks": "dict[str, asyncio.Task[None]]",
    "url": "str",
    "wait_until": "collections.abc.Callable[[collections.abc.Awaitable[None]], object]",
    "words": "collections.abc.Callable[[str], collections.abc.AsyncIterator[str]]",
}

# A module of the reader's.
MODEL = """\
from collections.abc import AsyncIterator
async def say(key: str, question: str) -> AsyncIterator[str]: yield question
"""


def programs() -> dict[str, str]:
    """Return the programs of all pages and examples, by names of modules.

    One that begins with the name of its file can be imported by the later ones of its page. A
    second one with that name in a section is more of the same file.
    """
    found = {"model": MODEL}
    for page in PAGES:
        prefix = re.sub(r"\W", "_", str(page.relative_to(ROOT).with_suffix("")))
        modules: dict[str, str] = {}
        for number, section in enumerate(re.split("^## ", page.read_text(), flags=re.MULTILINE)):
            for program in PROGRAM.findall(section):
                name = f"{prefix}_{len(found)}"
                if file := re.match(r"# ([\w./]+)\.py\n", program):
                    name = f"{prefix}_{number}_{re.sub(r'[./]', '_', file[1])}"
                    modules[file[1].replace("/", ".")] = name
                    found[name] = found.get(name, "") + _imported(program, modules)
                else:
                    found[name] = _imported(_whole(program), modules)
    for folder in ("chat", "page"):
        files = [*(ROOT / "docs/examples" / folder).glob("*.py")]
        modules = {it.stem: f"docs_examples_{folder}_{it.stem}" for it in files}
        for path in files:
            found[modules[path.stem]] = _imported(path.read_text(), modules)
    return found


def _imported(program: str, modules: dict[str, str]) -> str:
    """Return a program that imports the files of its page by their names here."""
    for module, name in modules.items():
        package, _, last = module.rpartition(".")
        whole = f"from {package} import {last}" if package else f"import {last}"
        program = re.sub(rf"(?m)^( *)from {module} import\b", rf"\1from {name} import", program)
        program = re.sub(rf"(?m)^( *){whole}\b", rf"\1import {name} as {last}", program)
    return program


def _whole(program: str) -> str:
    """Return a program; a part of one with what it uses before it."""
    try:
        compile(program, "page", "exec")
    except SyntaxError:  # it awaits at its top
        program = f"async def program() -> None:\n{textwrap.indent(program, '    ')}"
    used = _globals(symtable.symtable(program, "page", "exec"))
    types = {name: NAMES[name] for name in sorted(used) if name in NAMES}
    if not types:
        return program
    modules = {it for kind in types.values() for it in re.findall(r"([a-z_.]+)\.\w", kind)}
    imports = "".join(
        f"import {module}\n"
        for module in sorted({"typing", *modules})
        if not re.search(f"^import {module}$", program, re.MULTILINE)
    )
    given = "".join(f"{name}: '{kind}' = given()\n" for name, kind in types.items())
    return f"{imports}def given() -> typing.Any: ...\n{given}{program}"


def _globals(table: symtable.SymbolTable) -> set[str]:
    """Return the names that a program, or a part of it, uses and does not define."""
    symbols = table.get_symbols()
    used = {it.get_name() for it in symbols if it.is_global() and it.is_referenced()}
    own = {it.get_name() for it in symbols if it.is_local()}
    return used.union(*map(_globals, table.get_children())) - own
