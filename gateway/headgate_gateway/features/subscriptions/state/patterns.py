"""Patterns of stream names, and an index of them by which a name is matched without backtracking.

Patterns are found by the segments before their first wildcard, and then by one of the literals that
follow, so a name costs nothing for patterns that begin otherwise or need another segment. The
places of a literal in a name are the bits of a number: the leftmost place of some segments in a row
takes one operation for each of them, whatever the length of the name.
"""

from __future__ import annotations

from functools import cached_property
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from typing_extensions import override

from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.http.paths import RESERVED, canonical_path

T = TypeVar("T")

ONE, SEVERAL = "*", "**"  # segments that match one segment, and any number of them
_ENCODED_STAR = "%2A"
MOST_UNLINKED = 100_000  # names that are known to match nothing, about 150 bytes each
# A match takes some 6 us for the worst pattern of this length, so 60 ms for 10,000 of them.
MOST_SEGMENTS = 32
MOST_SEVERAL = 4


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

    def matches(self, name: str) -> bool:
        """Return whether this pattern alone matches a name."""
        index: PatternIndex[str] = PatternIndex()
        index.add(self, self.text)
        return bool(index.match(name))

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
    """Return a pattern in canonical form, which is matched in a bounded time. Raises BadRequest."""
    segments: list[str] = []
    for segment in stream_name(text).split("/"):
        if ONE in segment and segment not in {ONE, SEVERAL}:
            raise BadRequest("a * or ** stands for whole segments: write %2A for a star in a name")
        if segment != SEVERAL or segments[-1:] != [SEVERAL]:
            segments.append(segment)
    if len(segments) > MOST_SEGMENTS:
        raise BadRequest(f"a pattern has at most {MOST_SEGMENTS} segments")
    if segments.count(SEVERAL) > MOST_SEVERAL:
        raise BadRequest(f"a pattern has at most {MOST_SEVERAL} segments **")
    return StreamPattern("/".join(segments), tuple(segments))


class _Name:
    """A name by its segments, while it is matched."""

    def __init__(self, name: str) -> None:
        self.segments = tuple(_key(name).replace(ONE, "\0").split("/"))
        self.length = len(self.segments)

    @cached_property
    def places(self) -> dict[str, int]:
        """The places of each segment, as the bits of a number."""
        places: dict[str, int] = {}
        for at, segment in enumerate(self.segments):
            places[segment] = places.get(segment, 0) | 1 << at
        return places

    @cached_property
    def keys(self) -> set[str]:
        """The keys under which rests that may fit the name are found."""
        return {*self.segments, ""}


class _Rest(Generic[T]):
    """The end of patterns from their first wildcard on, with the values of those that are equal.

    It is empty for a pattern without any, which is the name of one stream. A name has its `opening`
    next, then `blocks` with any segments before each, and the `ending` last. Each of them is its
    literals, with their places in it; an ending counts from the end.
    """

    __slots__ = ("blocks", "ending", "has_several", "least", "opening", "values")

    def __init__(self, segments: tuple[str, ...]) -> None:
        runs = _split(segments)
        self.least = sum(map(len, runs))  # segments of a name
        self.has_several = len(runs) > 1
        self.opening = (len(runs[0]), _literals(runs[0]))
        self.blocks = [(len(run), _literals(run)) for run in runs[1:-1]]
        last = runs[-1] if self.has_several else []
        self.ending = [(at - len(last), literal) for at, literal in _literals(last)]
        self.values: dict[T, None] = {}

    def fits(self, name: _Name, start: int) -> bool:
        """Return whether the rest fits a name from `start` on."""
        segments = name.segments
        spare = name.length - start - self.least  # segments for `**`
        if spare < 0 or (spare and not self.has_several):
            return False
        for at, literal in self.ending:
            if segments[at] != literal:
                return False
        length, literals = self.opening
        for at, literal in literals:
            if segments[start + at] != literal:
                return False
        return not self.blocks or self._has_blocks(name, start + length, spare)

    def _has_blocks(self, name: _Name, start: int, spare: int) -> bool:
        """Return whether a name has the blocks from `start` on, with `spare` segments between."""
        for length, literals in self.blocks:
            fitting, places = -1, name.places
            for at, literal in literals:
                fitting &= places.get(literal, 0) >> start + at
            skipped = (fitting & -fitting).bit_length() - 1  # up to the leftmost, -1 without any
            spare -= skipped
            if skipped < 0 or spare < 0:
                return False
            start += skipped + length
        return True


# The rests of patterns with one beginning by one of their literals, "" for those without any, and
# then by their segments.
_Group: TypeAlias = dict[str, dict[tuple[str, ...], _Rest[T]]]


class PatternIndex(Generic[T]):
    """The values of patterns, found by the names that these match."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], _Group[T]] = {}  # by the segments before a wildcard

    def __len__(self) -> int:
        """Return how many different beginnings the patterns have."""
        return len(self._groups)

    def add(self, pattern: StreamPattern, value: T) -> None:
        """Find `value` by the names that match the pattern."""
        beginning, segments = _parts(pattern)
        group, keys = self._groups.setdefault(beginning, {}), _keys(segments)
        known = next((it for it in keys if segments in group.get(it, ())), None)
        if known is None:  # a rare literal
            known = min(keys, key=lambda it: len(group.get(it, ())))
            group.setdefault(known, {})[segments] = _Rest(segments)
        group[known][segments].values[value] = None

    def remove(self, pattern: StreamPattern, value: T) -> None:
        """Remove a value that was added with this pattern."""
        beginning, segments = _parts(pattern)
        group = self._groups[beginning]
        for key in _keys(segments):
            if (rest := group.get(key, {}).get(segments)) is None:
                continue
            rest.values.pop(value, None)
            if not rest.values:
                del group[key][segments]
            if not group[key]:
                del group[key]
        if not group:
            del self._groups[beginning]

    def match(self, text: str) -> list[T]:
        """Return the values of all patterns that match a name, each once."""
        name = _Name(text)
        found: dict[T, None] = {}
        for start in range(min(name.length, MOST_SEGMENTS) + 1):
            group = self._groups.get(name.segments[:start], {})
            few, many = sorted((name.keys, group.keys()), key=len)
            for key in [key for key in few if key in many]:
                for rest in group[key].values():
                    if rest.fits(name, start):
                        found.update(rest.values)
        return list(found)


def _keys(segments: tuple[str, ...]) -> tuple[str, ...]:
    """Return the literals of a rest, each once; "" if it has none."""
    return tuple(dict.fromkeys(it for it in segments if it not in {ONE, SEVERAL})) or ("",)


def _key(segment: str) -> str:
    """Return the key of a segment: a star in a name has another one than a wildcard."""
    return segment.replace(_ENCODED_STAR, "\0")


def _parts(pattern: StreamPattern) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the segments before the first wildcard, and those from there on."""
    keys = tuple(map(_key, pattern.segments))
    wildcards = (at for at, key in enumerate(keys) if key in {ONE, SEVERAL})
    at = next(wildcards, len(keys))
    return keys[:at], keys[at:]


def _split(segments: tuple[str, ...]) -> list[list[str]]:
    """Return the runs of segments between `**`."""
    runs: list[list[str]] = [[]]
    for segment in segments:
        if segment == SEVERAL:
            runs.append([])
        else:
            runs[-1].append(segment)
    return runs


def _literals(run: list[str]) -> tuple[tuple[int, str], ...]:
    """Return the literals of a run, each with its place there."""
    return tuple((at, segment) for at, segment in enumerate(run) if segment != ONE)


class UnlinkedNames(set[str]):
    """Names that are known to match nothing, all forgotten where they are too many."""

    @override
    def add(self, path: str) -> None:
        if path not in self and len(self) >= MOST_UNLINKED:
            self.clear()
        super().add(path)
