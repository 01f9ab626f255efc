"""Make the classes for threads, in `headgate/sync`, from those for asyncio.

    python -m scripts.sync_twins [--check]

Their methods have the same names, parameters and docstrings, but for examples and arguments that
are for asyncio. Each calls the method of its twin in the event loop of `headgate.sync`, or the
method of a class in `headgate.sync.twins` that replaces it. With `--check` nothing is written, and
the status is 1 if a file is old.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "client/headgate"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Twin:
    """A class for threads: its base, and its differences from its twin."""

    name: str
    source: str  # the module of its twin, below `headgate`
    base: str
    made_by: str = "{twin}({arguments})"  # how its constructor makes its twin
    # The bodies of methods that do more than to call the twin's in the loop.
    bodies: tuple[tuple[str, str], ...] = ()


RUN_OPTIONS = "format=format, message_id=message_id"
EACH_PROCESS = "partial({twin}, {arguments})"
MODULES: dict[str, tuple[str, list[Twin]]] = {
    "answer": (
        "An answer for web frameworks with threads: status, header fields and a streaming body.",
        [Twin("Answer", "runs.answer", "")],
    ),
    "streams": (
        "A client of one server for threads: its streams, to append to, to read and to follow.",
        [
            Twin(
                "Client",
                "streams.client",
                "Twin",
                bodies=(
                    (
                        "runs",
                        "Runs._of(headgate.runs.runs.Runs(self.base_url), "
                        "lambda: current().entered.setdefault(self, self._twin).runs)",
                    ),
                    ("chats", "Chats(self.runs)"),
                ),
            ),
            Twin("Stream", "streams.stream", "Twin"),
        ],
    ),
    "runs": (
        "Runs for threads: started here or elsewhere, followed and stopped by their ids.",
        [
            Twin(
                "Runs",
                "runs.runs",
                "ThreadRuns",
                made_by=EACH_PROCESS,
                bodies=(
                    ("start", f"self._start(run_id, source, {RUN_OPTIONS})"),
                    (
                        "take_over",
                        f"self._take_over(run_id, make_source, {RUN_OPTIONS}, "
                        "only_orphaned=only_orphaned, closes=closes)",
                    ),
                    ("stopped", "self._stopped(run_id)"),
                ),
            )
        ],
    ),
    "chats": (
        "Chats for threads, each of whose answers is a run.",
        [
            Twin(
                "Chats",
                "chats.chats",
                "ThreadChats",
                made_by="{twin}(runs._twin, busy_after=busy_after), "
                "lambda: {twin}(runs._found(), busy_after=busy_after)",
                bodies=(
                    (
                        "send",
                        "answer_of(self._call(lambda twin: twin.send(chat_id, message, "
                        "in_threads(answering), trigger=trigger, user=user, body=body)))",
                    ),
                ),
            )
        ],
    ),
    "writer": (
        "Writing many small chunks to a stream from threads: in batches, and each exactly once.",
        [
            Twin("StreamWriter", "sending.writer", "Twin"),
        ],
    ),
    "workers": (
        "Workers for threads: jobs of pull-wake subscriptions, worked on in threads.",
        [
            Twin("JobStream", "workers.job", "Twin"),
            Twin("Job", "workers.job", "Twin"),
            Twin(
                "Worker",
                "workers.worker",
                "ThreadWorker",
                bodies=(
                    ("__aiter__", "map(Job, self._jobs())"),
                    ("run", "self._run(lambda job: handle(Job(job)))"),
                ),
            ),
        ],
    ),
}
PACKAGE = '''"""Headgate for threads: twins of the library's classes, for programs without asyncio.

Made by `python -m scripts.sync_twins`.

runs = headgate.sync.Runs("http://127.0.0.1:4437/v1/stream/runs")
answer = runs.start(id, produce(question), format="ai-sdk")
"""
'''
NAMES = '''

def __dir__() -> list[str]:
    """Return the public names alone, whatever modules have been imported."""
    return sorted(__all__)
'''
CHECK = ("check", "--fix-only", "--unsafe-fixes", "--quiet", "--select", "F401,I,TC")
# Arguments that belong to an event loop, or to classes that are for asyncio alone.
FOR_ASYNCIO = {"session", "metadata"}
# The modules of the names that the module of the twin does not import.
IMPORTS = {
    "check_runs": "headgate.errors",
    "current": "headgate.sync.loop_thread",
    "iterated": "headgate.sync.loop_thread",
    "cached_property": "functools",
    "partial": "functools",
    "dataclass": "dataclasses",
    **dict.fromkeys(
        (
            *("Answering", "RunSource", "StreamIterator"),
            *("ThreadChats", "ThreadRuns", "ThreadWorker"),
            *("Twin", "answer_of", "in_threads"),
        ),
        "headgate.sync.twins",
    ),
    **{
        twin.name: f"headgate.sync.{module}"
        for module, (_, made) in MODULES.items()
        for twin in made
    },
}
TYPES = {
    "WorkerOptions": "headgate.streams.client",
    "WriterOptions": "headgate.streams.client",
    "Iterator": "collections.abc",
    "Iterable": "collections.abc",
    "Generator": "collections.abc",
}
# The types for threads, by those for asyncio.
ANNOTATIONS = (
    ("AsyncIterable[", "Iterable["),
    ("AsyncGenerator[bytes]", "Generator[bytes]"),
    ("AsyncGenerator[", "Iterator["),
    ("str | StreamRequests", "str"),
    ("asyncio.Event", "threading.Event"),
    ("Awaitable[object]", "object"),
)
EXAMPLE = re.compile(r"```python\n.*?\n```\n\n", re.DOTALL)


def package_text() -> str:
    """Return the text of the package, which has all classes for threads."""
    names = {twin.name: module for module, (_, made) in MODULES.items() for twin in made}
    names["StreamIterator"] = "twins"
    imports = "".join(f"from headgate.sync.{names[it]} import {it}\n" for it in names)
    return _formatted("__init__", f"{PACKAGE}\n{imports}\n__all__ = {sorted(names)}\n{NAMES}")


def module_text(name: str) -> str:
    """Return the text of a module."""
    title, twins = MODULES[name]
    sources = list(dict.fromkeys(f"headgate.{twin.source}" for twin in twins))
    classes = {twin: _class(twin) for twin in twins}
    body = "".join(classes.values())
    names = "`, `".join(sources)
    text = (
        f'"""{title}\n\nMade by `python -m scripts.sync_twins` from `{names}`.\n"""\n\n'
        "from __future__ import annotations\n\n"
        f"{_imports(classes, body)}{body}"
    )
    return _formatted(name, text)


def _formatted(name: str, text: str) -> str:
    for command in (CHECK, ("format",)):
        text = subprocess.run(  # noqa: S603 - of this environment
            [
                Path(sys.executable).with_name("ruff"),
                *command,
                "-",
                "--stdin-filename",
                path_of(name),
            ],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return text


def path_of(name: str) -> Path:
    """Return the path of a module."""
    return LIBRARY / "sync" / f"{name}.py"


def _tree(source: str) -> ast.Module:
    return ast.parse((LIBRARY / f"{source.replace('.', '/')}.py").read_text())


def _imports(classes: dict[Twin, str], body: str) -> str:
    """Return the imports of the twins' modules and of the classes; ruff removes unused ones."""
    at_runtime, types = ["import threading", "import headgate.runs.runs"], [""]
    for twin, text in classes.items():
        source = f"headgate.{twin.source}"
        at_runtime.append(f"import {source}")
        for node in _tree(twin.source).body:
            lines = types if isinstance(node, ast.If) else at_runtime
            for each in node.body if isinstance(node, ast.If) else [node]:
                if isinstance(each, ast.ImportFrom) and each.module != "__future__":
                    lines += [
                        f"from {each.module} import {it.name}"
                        for it in each.names
                        if it.name not in IMPORTS and it.name not in TYPES
                    ]
                target = each.targets[0] if isinstance(each, ast.Assign) else None
                target = each.target if isinstance(each, ast.AnnAssign) else target
                if isinstance(target, ast.Name) and re.search(rf"\b{target.id}\b", text):
                    at_runtime.append(f"from {source} import {target.id}")
    own = {twin.name for twin in classes}
    used = {it for it in IMPORTS if re.search(rf"\b{it}\b", body)} - own
    at_runtime += [f"from {IMPORTS[it]} import {it}" for it in sorted(used)]
    types += [f"from {module} import {it}" for it, module in TYPES.items()]
    guarded = textwrap.indent("\n".join(types), "    ")
    return "\n".join(dict.fromkeys(at_runtime)) + f"\n\nif TYPE_CHECKING:\n{guarded}\n"


def _class(twin: Twin) -> str:
    (node,) = [
        node
        for node in _tree(twin.source).body
        if isinstance(node, ast.ClassDef) and node.name == twin.name
    ]
    full = f"headgate.{twin.source}.{twin.name}"
    base = twin.base
    if base == "Twin":
        base = f'{base}["{full}"]'
    head = (
        f"class {twin.name}({base})"
        if base
        else (f"@dataclass(frozen=True, slots=True)\nclass {twin.name}")
    )
    members = "".join(_members(twin, node, full))
    return f"\n\n{head}:\n{_docstring(node, 4)}{members}"


def _members(twin: Twin, node: ast.ClassDef, full: str) -> Iterator[str]:
    bodies = dict(twin.bodies)
    for member in node.body:
        if isinstance(member, ast.AnnAssign):
            yield f"    {_for_threads(ast.unparse(member))}\n"
        if not isinstance(member, Function):
            continue
        _drop_arguments_of_asyncio(member)
        if member.name == "__init__":
            yield _initialization(twin, member, full, _attributes(node))
        elif member.name in bodies or not member.name.startswith("_"):
            yield _method(member, bodies.get(member.name))


def _attributes(node: ast.ClassDef) -> list[str]:
    """Return the attributes that the docstring of a class has."""
    section = (ast.get_docstring(node) or "").partition("\nAttributes:\n")[2]
    return re.findall(r"^    (\w+):", section, re.MULTILINE)


def _initialization(twin: Twin, method: Function, full: str, attributes: list[str]) -> str:
    if twin.name in {"Stream", "Job", "JobStream"}:
        arguments = f"self, twin: {full}"
        made = "twin, lambda: twin" if twin.name == "Stream" else "twin"  # in any process
        docstring = f'        """Use `{_maker(twin.name)}`."""\n'
    else:
        arguments, docstring = ast.unparse(method.args), ""
        made = twin.made_by.format(twin=full, arguments=_arguments(method))
    lines = [f"super().__init__({made})"]
    if twin.name == "Client":
        attributes = ["base_url"]
        lines = [f"twin = {made}", "super().__init__(twin, lambda: twin)"]
    elif twin.name == "Chats":
        lines = ['check_runs(runs, Runs, "headgate.sync.Runs")', *lines, "self.runs = runs"]
    for name in attributes:
        value = f"self._twin.{name}"
        if name == "streams":
            value = f"tuple(map(JobStream, {value}))"
        lines.append(f"self.{name} = {value}")
    head = "\n    @checks_keywords" if method.decorator_list else ""
    return (
        f"{head}\n    def __init__({_for_threads(arguments)}) -> None:\n{docstring}"
        + textwrap.indent("\n".join(lines), " " * 8)
        + "\n"
    )


def _maker(name: str) -> str:
    return {"Stream": "Client.stream`, `create` or `open", "Job": "Worker"}.get(name, "Job.streams")


def _method(method: Function, body: str | None) -> str:
    name = {"aclose": "close", "__aiter__": "__iter__"}.get(method.name, method.name)
    returned = _for_threads(ast.unparse(method.returns) if method.returns else "None")
    parameters = _for_threads(ast.unparse(method.args))
    decorators = [ast.unparse(it) for it in method.decorator_list]
    is_property = "property" in decorators
    # A property with a body of its own is made once.
    head = f"\n    @{'property' if body is None else 'cached_property'}" if is_property else ""
    head += "\n    @checks_keywords" if "checks_keywords" in decorators else ""
    head += f"\n    def {name}({parameters}) -> {returned}:\n{_docstring(method, 8)}"
    if body is None:
        body = _call(method, returned, is_property=is_property)
    makes = {"Answer | None": "answer_of"}.get(returned)
    if makes is not None:
        return (
            f"{head}        twin = {body}\n        return None if twin is None else {makes}(twin)\n"
        )
    return f"{head}        {'' if returned == 'None' else 'return '}{body}\n"


def _call(method: Function, returned: str, *, is_property: bool) -> str:
    """Return the expression that calls the twin."""
    if is_property:
        if returned == "list[JobStream]":
            return "[it for it in self.streams if it.has_pending and not self.is_lost]"
        return f"self._twin.{method.name}"
    how = "_call" if isinstance(method, ast.AsyncFunctionDef) else "_get"
    how = "_close" if method.name == "aclose" else how
    if returned.startswith("Iterator["):
        return f"iterated(self._twin.{method.name}({_arguments(method)}))"
    value = f"self.{how}(lambda twin: twin.{method.name}({_arguments(method)}))"
    made = re.match(r"(Stream(Iterator|Writer)?|Worker|Job)\b", returned)
    if made is None:
        return value
    of = made[0] if made[0] in {"Stream", "StreamIterator", "Job"} else f"{made[0]}._of"
    return f"{of}({value})"


def _arguments(method: Function) -> str:
    """Return the arguments with which the twin is called: those of the method, passed on."""
    names = [it.arg for it in method.args.args[1:]]
    if method.args.vararg is not None:
        names.append(f"*{method.args.vararg.arg}")
    names += [f"{it.arg}={it.arg}" for it in method.args.kwonlyargs]
    if method.args.kwarg is not None:
        names.append(f"**{method.args.kwarg.arg}")
    return ", ".join(names)


def _drop_arguments_of_asyncio(method: Function) -> None:
    arguments = method.args
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    remaining = [pair for pair in pairs if pair[0].arg not in FOR_ASYNCIO]
    arguments.kwonlyargs = [argument for argument, _ in remaining]
    arguments.kw_defaults = [default for _, default in remaining]


def _for_threads(annotations: str) -> str:
    for asyncio_words, words in ANNOTATIONS:
        annotations = annotations.replace(asyncio_words, words)
    return annotations


def _docstring(node: ast.ClassDef | Function, indent: int) -> str:
    """Return the docstring as it stands, without examples and arguments that are for asyncio."""
    text = EXAMPLE.sub("", f"{ast.get_docstring(node)}\n")
    for name in FOR_ASYNCIO:
        text = re.sub(rf"^    {name}: .*\n(?:        .*\n)*", "", text, flags=re.MULTILINE)
    text = text.removesuffix("\n") if text.count("\n") == 1 else text
    return textwrap.indent(f'"""{text}"""\n', " " * indent)


def main() -> int:
    """Write the files, or say which are old."""
    status = 0
    texts = {"__init__": package_text(), **{name: module_text(name) for name in MODULES}}
    for name, text in texts.items():
        path = path_of(name)
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in sys.argv[1:]:
            sys.stderr.write(f"{path.relative_to(ROOT)} is old: python -m scripts.sync_twins\n")
            status = 1
        else:
            path.write_text(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
