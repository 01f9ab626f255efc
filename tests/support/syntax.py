"""Walks over the syntax tree of a module that leave out most of it."""

from __future__ import annotations

import ast
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

BODIES = frozenset({"body", "handlers", "orelse", "finalbody", "cases"})


def nodes_near(text: str, pattern: re.Pattern[str]) -> Iterator[ast.AST]:
    """Return all nodes of a module but those of statements in whose lines a pattern is not."""
    matches = [text.count("\n", 0, match.start()) + 1 for match in pattern.finditer(text)]
    waiting: list[ast.AST] = [*ast.parse(text).body] if matches else []
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.stmt):
            begin = min(it.lineno for it in (node, *getattr(node, "decorator_list", ())))
            at = bisect_left(matches, begin)
            if at == len(matches) or matches[at] > (node.end_lineno or 0):
                continue
        yield node
        waiting += ast.iter_child_nodes(node)


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Return the statements of the bodies of a node; handlers and cases have bodies in turn."""
    for name in BODIES.intersection(node._fields):
        children = getattr(node, name)
        yield from children if isinstance(children, list) else ()
