"""Make the classes for threads of those for asyncio: `headgate/sync/streams.py`.

    python -m scripts.sync_twins [--check]

Their methods have the same names, parameters and docstrings; each calls the method of its twin in
the event loop of `headgate.sync`. With `--check` nothing is written, and the status is 1 if the
file is old.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [ROOT / "client/headgate/streams" / f"{name}.py" for name in ("client", "stream")]
TARGET = ROOT / "client/headgate/sync/streams.py"
# What is made for asyncio alone, or by another class for threads.
LEFT_OUT = {"chats", "runs", "worker", "writer"}
SESSION = "session"  # a session of aiohttp belongs to an event loop
HEAD = '''"""A client of one server for threads: its streams, to append to, to read and to follow.

Made by `python -m scripts.sync_twins` of `headgate.streams`: change it there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import headgate.streams.client
import headgate.streams.stream
from headgate.endpoint import IDLE_TIMEOUT_S
from headgate.streams.client import RETRIES
from headgate.streams.messages import BEGINNING
from headgate.sync.iterator import StreamIterator
from headgate.sync.loop_thread import current

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from headgate.following import Batch
    from headgate.stream_requests import Metadata
    from headgate.streams.client import Token
    from headgate.streams.messages import Message
'''
ENTERED = """
    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
"""


def module_text() -> str:
    """Return the text of the file."""
    parts = [HEAD]
    for source in SOURCES:
        for node in ast.parse(source.read_text()).body:
            if isinstance(node, ast.ClassDef):
                parts += _class(node)
    formatted = subprocess.run(  # noqa: S603 - of this environment
        [Path(sys.executable).with_name("ruff"), "format", "-", "--stdin-filename", TARGET],
        input="".join(parts),
        capture_output=True,
        text=True,
        check=True,
    )
    return formatted.stdout


def _class(node: ast.ClassDef) -> Iterator[str]:
    yield f"\n\nclass {node.name}:\n{_docstring(node, 4)}"
    for method in node.body:
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
            if method.name == "__init__":
                yield _initialization(node.name, method)
            elif method.name == "__aenter__":
                yield ENTERED
            elif not method.name.startswith("_") and method.name not in LEFT_OUT:
                yield _method(method)


def _initialization(name: str, method: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    if name == "Stream":
        return (
            "\n    def __init__(self, twin: headgate.streams.stream.Stream) -> None:\n"
            f"{_docstring(method, 8)}        self._twin = twin\n        self.url = twin.url\n"
        )
    _without_session(method)
    given = _arguments(method)
    return (
        f"\n    def __init__({ast.unparse(method.args)}) -> None:\n"
        f"        self._twin = headgate.streams.client.Client({given})\n"
        "        self.base_url = self._twin.base_url\n"
    )


def _method(method: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    name = "close" if method.name == "aclose" else method.name
    returned = ast.unparse(method.returns) if method.returns else "None"
    head = f"\n    def {name}({ast.unparse(method.args)}) -> {returned}:\n{_docstring(method, 8)}"
    twin, given = f"self._twin.{method.name}", _arguments(method)
    if isinstance(method, ast.AsyncFunctionDef):
        value = f"current().call({', '.join(filter(None, (twin, given)))})"
    elif returned.startswith("StreamIterator"):
        value = f"lambda: {twin}({given})"
    else:
        value = f"{twin}({given})"
    kind = re.match(r"Stream(Iterator)?\b", returned)
    value = f"{kind[0]}({value})" if kind else value
    return f"{head}        {'' if returned == 'None' else 'return '}{value}\n"


def _arguments(method: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return the arguments with which the twin is called: its own, as they were given."""
    positional = [it.arg for it in method.args.args[1:]]
    return ", ".join([*positional, *(f"{it.arg}={it.arg}" for it in method.args.kwonlyargs)])


def _without_session(method: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    arguments = method.args
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    left = [pair for pair in pairs if pair[0].arg != SESSION]
    arguments.kwonlyargs = [argument for argument, _ in left]
    arguments.kw_defaults = [default for _, default in left]


def _docstring(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, indent: int) -> str:
    """Return the docstring as it is for threads."""
    text = ast.get_docstring(node) or ""
    text = re.sub(r"^    session: .*\n(?:        .*\n)*", "", text, flags=re.MULTILINE)
    for asyncio_words, words in (
        ("async with headgate.", "with headgate.sync."),
        ("async with", "with"),
        ("async for", "for"),
        ("await ", ""),
        ("`aclose`", "`close`"),
        ("a function, async or not,", "a function"),
        (", in this event loop or another one; a forked process has", "; a forked process has"),
        ("the next turn of\nthe event loop", "the next turn of\nits event loop"),
    ):
        text = text.replace(asyncio_words, words)
    return textwrap.indent(f'"""{text}{chr(10) if chr(10) in text else ""}"""\n', " " * indent)


def main() -> int:
    """Write the file, or say that it is old."""
    text = module_text()
    if TARGET.exists() and TARGET.read_text() == text:
        return 0
    if "--check" in sys.argv[1:]:
        sys.stderr.write(f"{TARGET.relative_to(ROOT)} is old: python -m scripts.sync_twins\n")
        return 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
