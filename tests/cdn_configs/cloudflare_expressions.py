"""What an expression of Cloudflare's rules language comes to, for the few parts that ours use.

That they are well-formed and well-typed, Cloudflare's own parser tells. It does not run them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOKEN = re.compile(r'"[^"]*"|\[\*\]|[A-Za-z_][A-Za-z0-9_.]*|\d+|[()\[\]{},]|==')


def holds(expression: str, facts: Mapping[str, Any]) -> bool:
    """Whether it is true of a request; `facts` are fields by name, maps of lists among them."""
    reader = _Reader(_TOKEN.findall(expression), facts)
    value = reader.any_of()
    assert reader.tokens == [], reader.tokens
    return value


class _Reader:
    """Evaluates while it reads. `not` binds more closely than `and`, and that than `or`."""

    def __init__(self, tokens: list[str], facts: Mapping[str, Any]) -> None:
        self.tokens = tokens
        self.facts = facts

    def any_of(self) -> bool:
        values = [self.all_of()]
        while self._next_is("or"):
            values.append(self.all_of())
        return any(values)

    def all_of(self) -> bool:
        values = [self.one()]
        while self._next_is("and"):
            values.append(self.one())
        return all(values)

    def one(self) -> bool:
        if self._next_is("not"):
            return not self.one()
        if self._next_is("("):
            value = self.any_of()
            self._take(")")
            return value
        if self._next_is("any"):
            self._take("(")
            value = any(self._compared())
            self._take(")")
            return value
        if self._next_is("starts_with"):
            self._take("(")
            text = self.facts[self.tokens.pop(0)]
            self._take(",")
            beginning = self._literal()
            self._take(")")
            return bool(text.startswith(beginning))
        (value,) = self._compared()
        return value

    def _compared(self) -> list[bool]:
        """A field beside a literal; for `[*]`, each of its items."""
        value = self.facts[self.tokens.pop(0)]
        if self._next_is("["):
            value = value.get(self._literal(), [])
            self._take("]")
        items = value if self._next_is("[*]") else [value]
        operator = self.tokens.pop(0)
        literal = self._literal()
        if operator in ("eq", "=="):
            return [item == literal for item in items]
        if operator == "in":
            return [item in literal for item in items]
        assert operator == "contains", operator
        return [literal in item for item in items]

    def _literal(self) -> Any:
        token = self.tokens.pop(0)
        if token == "{":
            items = []
            while not self._next_is("}"):
                items.append(self._literal())
            return items
        return int(token) if token.isdigit() else token.strip('"')

    def _next_is(self, token: str) -> bool:
        if not self.tokens or self.tokens[0] != token:
            return False
        del self.tokens[0]
        return True

    def _take(self, token: str) -> None:
        assert self._next_is(token), self.tokens
