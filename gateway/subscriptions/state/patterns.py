"""Patterns of stream names, and a trie of them: a name is matched segment by segment.

The cost of a look-up depends on the name and on the patterns that fit its beginning, not on how
many patterns there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from gateway.errors import BadRequest
from gateway.protocol.http.paths import RESERVED, canonical_path

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")

ONE, SEVERAL = "*", "**"  # segments that match one segment, and any number of them
_ENCODED_STAR = "%2A"


def stream_name(text: str) -> str:
    """Return a stream's name in canonical form, without slashes around it. Raises BadRequest."""
    name = canonical_path(f"/{text.strip('/')}")[1:]
    if not name:
        raise BadRequest("a stream has a name")
    if name.split("/", 1)[0] == RESERVED:
        raise BadRequest(f"{RESERVED} is reserved, and names no stream")
    return name


class StreamPattern(NamedTuple):
    """A pattern by its segments, in which `*` and `**` are wildcards and `%2A` is a star."""

    text: str
    segments: tuple[str, ...]

    def read_paths(self, prefix: str) -> list[str]:
        """Return the paths for which a reader of all that may match needs `read`.

        A path that ends in `/*` stands for all below it.
        """
        literal: list[str] = []
        for segment in self.segments:
            if segment in {ONE, SEVERAL}:
                break
            literal.append(segment)
        base = "/".join((prefix, *literal))
        rest = self.segments[len(literal) :]
        if not rest:
            return [base]
        is_base_matched = bool(literal) and all(segment == SEVERAL for segment in rest)
        return [f"{base}/*", base] if is_base_matched else [f"{base}/*"]

    @property
    def is_name(self) -> bool:
        """True if the pattern has no wildcard: it is the name of one stream."""
        return not {ONE, SEVERAL}.intersection(self.segments)

    @property
    def beginning(self) -> str:
        """The text with which each matching name begins."""
        begins: list[str] = []
        for segment in self.segments:
            if segment in {ONE, SEVERAL} or _ENCODED_STAR in segment:
                break
            begins.append(segment)
        if len(begins) < len(self.segments) and self.segments[len(begins)] != SEVERAL:
            begins.append("")
        return "/".join(begins)


def pattern_of(text: str) -> StreamPattern:
    """Return a pattern in canonical form. Raises BadRequest."""
    name = stream_name(text)
    segments: list[str] = []
    for segment in name.split("/"):
        if ONE in segment and segment not in {ONE, SEVERAL}:
            raise BadRequest("a * or ** stands for whole segments: write %2A for a star in a name")
        if segment != SEVERAL or segments[-1:] != [SEVERAL]:
            segments.append(segment)
    return StreamPattern("/".join(segments), tuple(segments))


class _Node(Generic[T]):
    __slots__ = ("children", "is_several", "values")

    def __init__(self, *, is_several: bool = False) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.values: dict[T, None] = {}  # in the order in which they were added
        self.is_several = is_several  # it matches any segments before its children do


class PatternIndex(Generic[T]):
    """The values of patterns, found by the names that these match."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, pattern: StreamPattern, value: T) -> None:
        """Find `value` by the names that match the pattern."""
        node = self._root
        for key in map(_key, pattern.segments):
            child = node.children.get(key)
            if child is None:
                child = node.children[key] = _Node(is_several=key == SEVERAL)
            node = child
        node.values[value] = None

    def remove(self, pattern: StreamPattern, value: T) -> None:
        """Remove a value that was added with this pattern, and the nodes without any."""
        way = [self._root]
        keys = [*map(_key, pattern.segments)]
        for key in keys:
            way.append(way[-1].children[key])
        way[-1].values.pop(value, None)
        for parent, key, node in zip(way[-2::-1], keys[::-1], way[:0:-1], strict=True):
            if node.values or node.children:
                break
            del parent.children[key]

    def match(self, name: str) -> list[T]:
        """Return the values of all patterns that match a name, each once."""
        nodes = _with_several([self._root])
        for segment in name.split("/"):
            literal = _key(segment).replace(ONE, "\0")
            following: dict[_Node[T], None] = {}
            for node in nodes:
                if node.is_several:
                    following[node] = None
                for key in (literal, ONE):
                    child = node.children.get(key)
                    if child is not None:
                        following[child] = None
            nodes = _with_several(following)
            if not nodes:
                return []
        return list(dict.fromkeys(value for node in nodes for value in node.values))


def _key(segment: str) -> str:
    """Return the key of a segment: a star in a name has another one than a wildcard."""
    return segment.replace(_ENCODED_STAR, "\0")


def _with_several(nodes: Iterable[_Node[T]]) -> dict[_Node[T], None]:
    """Return nodes, and the `**` behind them, which match nothing as well."""
    found: dict[_Node[T], None] = {}
    for start in nodes:
        node: _Node[T] | None = start
        while node is not None and node not in found:
            found[node] = None
            node = node.children.get(SEVERAL)
    return found
