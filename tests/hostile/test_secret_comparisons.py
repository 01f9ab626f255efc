"""Secrets guessed byte by byte (S20): a comparison that ends at the first difference tells by its
time how much was right. So whatever is named as a secret is compared by hmac.compare_digest.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import headgate_admin
import headgate_gateway
from tests.support.syntax import nodes_near

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORDS = (
    "token|digest|password|passwd|secret|signature|hmac|mac|csrf|credential|api_?key|reader_key|rk"
)
# What only says something of a secret is none.
SECRET = re.compile(rf"^(?!without_|.*_(id|ids|file|name|type|count|kind)$)(.*_)?({WORDS})s?(_|$)")
IN_LINE = re.compile(rf"(?<![A-Za-z0-9])({WORDS})s?(?![A-Za-z0-9])")
COMPARED = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)
# Comparisons that may stay, each with its reason.
ALLOWED = {
    "token_digest(token) in self._file().tokens": "a look-up by a hash tells nothing of the token",
    "digest not in self._accepted": "a look-up by a keyed hash tells nothing of the key",
    "secret == self._secret": "whether a file has changed, which is ours",
    "_digest(new, revoked) in self._former": "all of it is in a file of ours, and not secret",
    "(secret, new, revoked) == (self._secret, self._versions, self._revoked)": (
        "whether a file has changed, which is ours"
    ),
    "parse_tokens(path, text) == after": "whether our edit of our own file says what it should",
    "parse_tokens(path, added) == after": "whether our edit of our own file says what it should",
    "file.tokens.get(proof.digest) == proof": "both were found by the same hash",
    "read.reader_key == self.of(read.path)": "both are ours: whether a rotation came meanwhile",
    "route.signatures == signatures": "both are ours: whether a file has changed",
    "xxhash.xxh3_128_digest(text[:known.size]) != known.checksum": "of data that the reader has",
    "str(self.token).encode() in found.tokens": "the number of a commit, which opens nothing",
}


def names_of(node: ast.AST) -> Iterator[str]:
    """What a side of a comparison is called, and the texts that it is looked up by.

    Of `token.kid` that is kid, which need be no secret; of `hash(token)` and `token.strip()` both.
    """
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str(name)):
            yield name
        case ast.Call(func=ast.Attribute(value=value, attr=name), args=arguments):
            yield name
            for part in (value, *arguments):
                yield from names_of(part)
        case _:
            for inner in ast.iter_child_nodes(node):
                yield from names_of(inner)


def is_plain(node: ast.expr) -> bool:
    """Whether to compare with it tells nothing: a constant such as None, "" or a list of them."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return all(map(is_plain, node.elts))
    return isinstance(node, ast.Constant)


def leaking(source: str) -> list[str]:
    """The comparisons in which a secret may be, as they are written."""
    found = []
    for node in nodes_near(source, IN_LINE):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        pairs = zip(sides, node.ops, sides[1:], strict=False)
        for left, operator, right in pairs:
            if not isinstance(operator, COMPARED) or is_plain(left) or is_plain(right):
                continue
            named = {name for side in (left, right) for name in names_of(side)}
            named = {name for name in named if not name.isupper()}  # but for a module's constants
            if any(map(SECRET.search, named)) and ast.unparse(node) not in ALLOWED:
                found.append(ast.unparse(node))
    return found


def test_no_source_module_compares_a_secret_in_variable_time(tell: Callable[[str], None]) -> None:
    files = [
        file
        for package in (headgate_gateway, headgate_admin)
        for file in sorted(Path(str(package.__file__)).parent.rglob("*.py"))
    ]
    found = {str(file): told for file in files if (told := leaking(file.read_text()))}
    tell(f"{len(files)} modules")
    assert len(files) > 250
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "token == given",
        "given != self._token",
        "headers['token'] == x",
        "digest in known",
        "sha256(token).hexdigest() == x",
        "a == b == csrf",
    ],
)
def test_leaking_finds_a_comparison_of_a_secret(source: str) -> None:
    assert leaking(source)
