"""Docstrings stand alone, and names are words that can be looked up."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("admin", "cdn_configs", "client/headgate", "gateway")
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
# The vocabulary of HTTP, asyncio, databases, monitoring and programming.
FIELD = frozenset(
    re.findall(
        r"\w+",
        """
        acceptor access address admission age alert attempt background behaviour bound budget
        builder cache call change channel check claim client command configuration connection
        connector content context converter copy count counter creation data deadline decision
        default delivery deployment description descriptor detector directive distribution driver
        effect end entry event exchange exemplar explanation export fact failure field file folder
        frame freshness gateway gauge get group handler handshake head histogram hook host
        increase index inspector issuer item kind length level lifecycle lifetime limit line list
        listener listing loader loop maker map mean metadata metric mistake name news observer
        outcome output owner panel part pattern pipeline point poller prediction process progress
        proof proxy purge purger quantile query question queue quota rank rate ratio reading
        receiver recipient refusal registry relay reload reloader reply report request response
        result revalidation rotation router rule sample schedule scope search secret segment
        sender serializer server session set setting share sharing size slot snapshot socket
        source span state status store subscription summary supervisor support sweeper table
        template thread threshold timeout timer token total tracer traffic transport type user
        validator verification waiter warning watch write writer
        """,
    )
)
# Verbs and participles that do not say what a thing is: `told`, where `sent_offset` says it.
PRIVATE_VERBS = frozenset(
    re.findall(
        r"\w+",
        """
        ask asked asks begin begins begun bring brought gave give given gives goes gone hear heard
        hears keep kept leave leaves left made said say says shown stood take taken takes tell tells
        told want wanted wants
        """,
    )
)
NAMES_OF_OTHERS = {
    "connection_made",  # of asyncio's protocols
    "keep_alive",  # of connections, the term of HTTP; aiohttp's responses have it
}
WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z]|$|\d)|[A-Z][a-z]+|[a-z]+")
PLURALS = {"ies": "y", "sses": "ss", "xes": "x", "tches": "tch", "shes": "sh"}
Documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def syntax(package: str) -> list[tuple[Path, list[ast.AST]]]:
    """Return the syntax of the modules of a package, of which several tests look at each node."""
    paths = sorted((ROOT / package).rglob("*.py"))
    return [(path, [*ast.walk(ast.parse(path.read_text()))]) for path in paths]


@pytest.fixture(scope="module", autouse=True)
def _forgotten() -> Iterator[None]:
    """Drop the syntax of all modules once it was looked at: it takes a hundred megabytes."""
    yield
    syntax.cache_clear()


def docstrings(package: str) -> Iterator[tuple[str, str, ast.AST]]:
    """All docstrings of a package, by their places, and what they describe."""
    for path, nodes in syntax(package):
        for node in nodes:
            if isinstance(node, Documented) and (text := ast.get_docstring(node)) is not None:
                yield f"{path.relative_to(ROOT)}: {getattr(node, 'name', 'the module')}", text, node


def is_action(node: ast.AST) -> bool:
    """Whether a docstring describes a call, and no value; that of `__init__` has its parameters."""
    return (
        isinstance(node, Function)
        and node.name != "__init__"
        and not any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_no_docstring_begins_with_a_pronoun_or_question_word(package: str) -> None:
    found = list(docstrings(package))
    assert found
    assert [place for place, text, _ in found if LEANS_ON_ANOTHER.match(text)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_the_docstring_of_a_function_begins_with_a_verb(package: str) -> None:
    found = [(place, text) for place, text, node in docstrings(package) if is_action(node)]
    assert found
    assert [place for place, text in found if NO_VERB.match(text)] == []


def singular(word: str) -> str:
    """Return a noun in the singular."""
    for ending, one in PLURALS.items():
        if word.endswith(ending):
            return word.removesuffix(ending) + one
    keeps = word.endswith(("ss", "us", "news")) or not word.endswith("s")
    return word if keeps else word[:-1]


def noun(name: str) -> str:
    """Return the noun of a class name: its last word; `Like` is the mark of a Protocol."""
    words = WORD.findall(name.removesuffix("Like"))
    return singular(words[-1].lower())


def classes() -> dict[str, list[str]]:
    """Return the public classes of the gateway with their bases; errors are named by conditions."""
    bases: dict[str, list[str]] = {}
    for _, nodes in syntax("gateway"):
        for node in nodes:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                bases[node.name] = [ast.unparse(base).partition("[")[0] for base in node.bases]
    return {name: found for name, found in bases.items() if not is_error(name, bases)}


def is_error(name: str, bases: dict[str, list[str]]) -> bool:
    """Return whether a class is an exception."""
    return name in {"Exception", "OSError", "RuntimeError", "ValueError"} or any(
        is_error(base, bases) for base in bases.get(name, [])
    )


def glossary() -> set[str]:
    """Return the words of the terms that the glossary explains."""
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    return {singular(word) for row in rows for word in re.findall("[a-z]+", row.lower())}


def test_the_noun_of_every_class_name_is_in_the_glossary_or_a_listed_word() -> None:
    known = glossary() | FIELD
    assert sorted(name for name in classes() if noun(name) not in known) == []


def test_each_listed_word_is_the_noun_of_a_class() -> None:
    in_use = {noun(name) for name in classes()}
    assert sorted(FIELD - in_use) == []


def names_in_use() -> tuple[set[str], dict[str, set[str]]]:
    """Return the names that the gateway declares, and the packages that use each name.

    These are the public attributes, methods and parameters, keywords of calls included.
    """
    declared: set[str] = set()
    users: dict[str, set[str]] = {}
    for path, nodes in syntax("gateway"):
        package = path.relative_to(ROOT).parts[1].removesuffix(".py")
        for node in nodes:
            declared |= declared_by(node)
            for name in used_by(node):
                users.setdefault(name, set()).add(package)
    return declared, users


def declared_by(node: ast.AST) -> set[str]:
    """Return the names that a node declares."""
    match node:
        case ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
            return {name}
        case ast.ClassDef(body=body):
            methods = {
                it.name for it in body if isinstance(it, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            fields = [it.target for it in body if isinstance(it, ast.AnnAssign)]
            return methods | {it.id for it in fields if isinstance(it, ast.Name)}
        case _:
            return set()


def used_by(node: ast.AST) -> set[str]:
    """Return the names that a node uses or declares."""
    match node:
        case ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
            return {name}
        case _:
            return declared_by(node)


def test_names_that_several_packages_use_are_no_private_verbs_or_participles() -> None:
    declared, users = names_in_use()
    found = {
        name
        for name in declared
        if len(users[name]) > 1
        and not name.startswith("_")
        and not PRIVATE_VERBS.isdisjoint({name.split("_")[0], name.split("_")[-1]})
    }
    assert found == NAMES_OF_OTHERS
