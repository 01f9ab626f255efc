"""Print what could be seen of a play as what is special about it.

A head is printed as the name of the base that is closest to it, and the lines that differ: with
`-` those that are missing, with where they stand those that have no place in the base. Of what is
counted, logged and traced only that is printed which the rule does not say.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.web.corpus import rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.web.corpus.seen import Response, Seen

BASES = Path(__file__).parent / "bases.txt"
TRACED = "traceparent: 00-<trace>-<span>-01"
KINDS = {
    rule.NO_ROUTE: "(the error counts for no route)",
    rule.UNREAD: "(the error counts for a request that was not read)",
}


class Base(NamedTuple):
    """The header lines that heads of one kind usually have, in their order.

    Of a line that only some of them have there is the name alone.
    """

    name: str
    lines: tuple[str, ...]

    def missing(self, names: set[str]) -> int:
        """Return how many lines a head with lines of these names is short of."""
        return sum(": " in line and _name(line) not in names for line in self.lines)


@cache
def bases() -> dict[str, list[Base]]:
    """Return the bases of responses, and of requests to an origin."""
    found: dict[str, list[Base]] = {"response": [], "request": []}
    for part in BASES.read_text().split("\n[")[1:]:
        title, *lines = part.strip().split("\n")
        kind, _, name = title.rstrip("]").partition(" ")
        found[kind].append(Base(name, tuple(lines)))
    return found


def lines_of(
    seen: Seen, first: Seen | None = None, *, is_guarded: bool, is_logged: bool, is_traced: bool
) -> list[str]:
    """Return the printed lines of what is seen; `first` was seen when the steps were played first.

    What is counted belongs to both plays then.
    """
    if first is not None:
        seen = replace(seen, counted=_less(seen.counted, first.counted))
    rules = {kind: rule.Rule(seen, kind, is_guarded=is_guarded) for kind in rule.KINDS}
    counted = {kind: _counted(one.counted(), seen.counted) for kind, one in rules.items()}
    kind = min(counted, key=lambda one: len(counted[one]))
    log_lines = rules[kind].log_lines() if is_logged else []
    spans = rules[kind].spans() if is_traced else []
    return [
        *_noted(seen, [] if first is None else first.responses),
        *_heard(seen, is_traced=is_traced),
        *([KINDS[kind]] if kind else []),
        *counted[kind],
        *_logged(log_lines, seen.logged),
        *_traced(spans, seen.spans),
    ]


def _less(counted: dict[str, float], first: dict[str, float]) -> dict[str, float]:
    changes = {name: counted.get(name, 0) - first.get(name, 0) for name in {*counted, *first}}
    return {name: change for name, change in changes.items() if change}


def _noted(seen: Seen, first: Sequence[Response]) -> Iterator[str]:
    before = iter(first)
    equal = Counter(one.request.line for one in first)
    for note in seen.notes:
        if isinstance(note, str):
            yield note
            continue
        same = next(before, note)
        is_usual = note.head == rule.head_again(same, equal[same.request.line])
        yield from _head(note.mark, _usual(same if is_usual else note), "response")


def _heard(seen: Seen, *, is_traced: bool) -> Iterator[str]:
    for head, body in seen.heard:
        lines = [line for line in head if not is_traced or line != TRACED]
        yield from _head("origin>", lines, "request")
        if is_traced and len(lines) == len(head):
            yield "origin> -traceparent"
        yield from (f"origin| {line}" for line in body)


def _counted(expected: dict[str, float], counted: dict[str, float]) -> list[str]:
    lines = []
    for name in sorted({*expected, *counted}):
        if name not in counted:
            lines.append(f"not counted {name} {expected[name]:+g}")
        elif name not in expected:
            lines.append(f"counted {name} {counted[name]:+g}")
        elif counted[name] != expected[name]:
            lines.append(f"counted {name} {counted[name]:+g} instead of {expected[name]:+g}")
    return lines


def _logged(expected: Sequence[dict[str, str]], logged: Sequence[dict[str, str]]) -> Iterator[str]:
    left = list(range(len(logged)))
    taken: list[int] = []
    for number, line in enumerate(expected, 1):
        if not left:
            yield f"not logged of response {number}"
            continue
        found = min(left, key=lambda one: len(_changes(line, logged[one])))
        left.remove(found)
        taken.append(found)
        if changes := _changes(line, logged[found]):
            yield f"logged of response {number}: {' '.join(changes)}"
    if taken != sorted(taken):
        yield f"logged in the order {' '.join(str(one + 1) for one in taken)}"
    yield from (f"logged {' '.join(_changes({}, logged[one]))}" for one in left)


def _traced(expected: Sequence[str], traced: Sequence[str]) -> Iterator[str]:
    by_rule, seen = Counter(expected), Counter(traced)
    yield from (f"not traced {span}" for span in sorted((by_rule - seen).elements()))
    yield from (f"traced {span}" for span in sorted((seen - by_rule).elements()))


def _changes(expected: dict[str, str], line: dict[str, str]) -> list[str]:
    changed = [f"{name}={line[name]}" for name in line if expected.get(name) != line[name]]
    return [*changed, *(f"-{name}" for name in expected if name not in line)]


def _head(mark: str, head: Sequence[str], kind: str) -> Iterator[str]:
    first, *lines = head
    names = {_name(line) for line in lines}
    base = min(
        bases()[kind], key=lambda one: len({*lines}.difference(one.lines)) + one.missing(names)
    )
    yield f"{mark} {first} ({base.name})"
    for line in _differences(base.lines, lines):
        yield f"{mark} {line}".rstrip()


def _differences(base: Sequence[str], lines: Sequence[str]) -> Iterator[str]:
    names = [_name(line) for line in lines]
    matcher = SequenceMatcher(None, [_name(line) for line in base], names, autojunk=False)
    for tag, start, end, at, to in matcher.get_opcodes():
        if tag == "equal":
            pairs = zip(base[start:end], lines[at:to], strict=True)
            yield from (line for usual, line in pairs if line != usual)
            continue
        yield from (f"-{_name(line)}" for line in base[start:end] if ": " in line)
        for number in range(at, to):
            yield f"{lines[number]} (after {names[number - 1] if number else 'the first line'})"


def _usual(response: Response) -> list[str]:
    """Return a head where what follows from the body or another line is said so."""
    keys = response.get("Surrogate-Key").replace(" ", ",")
    usual = {f"{name}: {keys}": f"{name}: <the keys>" for name in ("Cache-Tag", "CDN-Tag")}
    if response.is_whole:
        usual[f"Content-Length: {len(response.body)}"] = "Content-Length: <of the body>"
    return [usual.get(line, line) for line in response.head]


def _name(line: str) -> str:
    return line.partition(":")[0]
