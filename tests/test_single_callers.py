"""Each rule of a request has one caller: counted over the syntax trees, so that no copy comes back.

The first module of a rule is that of the handlers, or of what they call. Each one beyond it stands
with its reason. Most are of three kinds that have no handler by design: reads whose answer is
cached and long-polls that park (`web.connections.fast_path`, and the `kept_answer` of each kind of
route), SSE readers, and bytes that are no request. docs/decisions/one-way.md says what these are.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

GATEWAY = Path(__file__).resolve().parents[1] / "gateway"
BARE = "(bare)"


class Rule(NamedTuple):
    """A rule as the source names it: any of `names`, of a receiver in `receivers`.

    Without receivers any does, and BARE is that of a name that stands by itself. `callers` has the
    number of functions by module, and why a second one is there.
    """

    names: frozenset[str]
    receivers: frozenset[str]
    callers: dict[str, tuple[int, str]]


def rule(names: str, receivers: str, **callers: tuple[int, str]) -> Rule:
    """Return a rule; the modules of its callers have `__` for their dots."""
    by_module = {name.replace("__", "."): said for name, said in callers.items()}
    return Rule(frozenset(names.split()), frozenset(receivers.split()), by_module)


RULES = {
    "counting of an answer": rule(
        "answered read polls_answered",
        "traffic unrouted",
        runtime__exchange=(1, "every request that has an exchange"),
        telemetry__traffic=(2, "long-polls that parked: given recent data at once, or cut"),
        live__poll_answers=(1, "long-polls that parked: equal ones are counted together"),
    ),
    "counting of a cached answer": rule(
        "count unchanged bytes",
        "hits",
        web__connections__fast_path=(
            1,
            "cached reads, which have plain numbers in place of an exchange",
        ),
        telemetry__traffic=(4, "what these numbers come to, for a scrape"),
    ),
    "lines that every answer has": rule(
        "own shared shared_at parts_at",
        "lines",
        web__handlers__dispatch=(1, "every answer of a handler"),
        web__handlers__live_responses=(
            1,
            "the head of an SSE answer, written before a reader takes over",
        ),
        runtime__context=(
            2,
            "a refusal of what is no request; an answer that parked long-polls share",
        ),
        hosted__kept_answers=(1, "cached reads of own logs"),
        edge__kept_answers=(1, "cached reads of origins, whose head has them at two places"),
    ),
    "note of the loop detector": rule(
        "note",
        "loop_detector",
        web__handlers__dispatch=(1, "every request with a handler"),
        web__connections__fast_path=(1, "cached reads, and long-polls that park"),
    ),
    "admissions that are counted": rule(
        "ADMITTED",
        "",
        runtime__exchange=(1, "every request with a handler"),
        web__connections__fast_path=(1, "long-polls that park"),
        telemetry__traffic=(1, "who was given a cached answer was admitted: added for a scrape"),
    ),
    "loop check": rule(
        "check_loop", "", web__handlers__edge_handlers=(1, "every request to an HTTP origin")
    ),
    "judgment of an origin's answer": rule(
        "apply",
        "rules",
        cache__rules__judged_heads=(1, "every answer to a read of an origin"),
        edge__followed__stand_ins=(
            1,
            "recent data of a feed, judged as if the origin had answered so",
        ),
    ),
    "shedding": rule(
        "check level",
        "shedding",
        web__requests__charges=(1, "every write"),
        web__handlers__edge_handlers=(
            2,
            "reads of origins that cost a request; live reads of origins",
        ),
        hosted__reads=(1, "reads of own logs that are not cached, and live ones"),
        web__handlers__hosted_handlers=(1, "HEAD of an own log, which no cache answers"),
        web__connections__fast_path=(1, "long-polls park only while live reads are admitted"),
        web__metrics=(1, "the gauge"),
    ),
    "what answers a read of an origin": rule(
        "decide",
        "decision cache (bare)",
        cache__http_cache=(1, "the one who gathers what `decide` looks at"),
        web__handlers__edge_handlers=(1, "every read of an origin that has a handler"),
        edge__explain=(1, "what a read would be answered, without using the cache"),
    ),
    "which copy is fresh": rule(
        "reuse fresh",
        "decision (bare)",
        cache__decision=(1, "`decide` itself"),
        edge__kept_answers=(1, "cached reads: what `decide` begins with, without a request"),
    ),
    "concealing of a 404": rule(
        "conceals",
        "exchange get",
        web__handlers__dispatch=(1, "every answer of a handler"),
        web__connections__fast_path=(1, "a cached 404 of such a route is left to the handlers"),
    ),
}


class Use(NamedTuple):
    """A name as it stands in a function, with the last name of its receiver."""

    function: str
    name: str
    receiver: str


@cache
def uses() -> dict[str, list[Use]]:
    """Return, by module of the gateway, all names that its functions mention."""
    return {
        ".".join(path.relative_to(GATEWAY).with_suffix("").parts): list(
            _uses(ast.parse(path.read_text()), ())
        )
        for path in sorted(GATEWAY.rglob("*.py"))
    }


def _uses(node: ast.AST, inside: tuple[str, ...]) -> Iterator[Use]:
    for child in ast.iter_child_nodes(node):
        scope = inside
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            scope = (*inside, child.name)
        function = ".".join(scope)
        if isinstance(child, ast.Attribute):
            yield Use(function, child.attr, _last_name(child.value))
        elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load):
            yield Use(function, child.id, BARE)
        elif isinstance(child, ast.ImportFrom):
            # Under another name it would be used unseen.
            yield from (Use(function, one.name, BARE) for one in child.names if one.asname)
        yield from _uses(child, scope)


def _last_name(node: ast.expr) -> str:
    """Return the name of a receiver, without the underscore of a private one."""
    if isinstance(node, ast.Attribute):
        return node.attr.removeprefix("_")
    return node.id.removeprefix("_") if isinstance(node, ast.Name) else ""


def counted(of: Rule, modules: dict[str, list[Use]]) -> dict[str, int]:
    """Return how many functions of each module call a rule."""
    found: dict[str, set[str]] = {}
    for module, names in modules.items():
        for use in names:
            if use.name in of.names and (not of.receivers or use.receiver in of.receivers):
                found.setdefault(module, set()).add(use.function)
    return {module: len(functions) for module, functions in found.items()}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_called_by_the_listed_functions_only(name: str) -> None:
    expected = {module: many for module, (many, _) in RULES[name].callers.items()}
    assert counted(RULES[name], uses()) == expected


COPIES = [
    ("counting of an answer", "route.traffic.answered(READ, 200, 0)"),
    ("lines that every answer has", "self._shared.lines.own(date=False)"),
    ("note of the loop detector", "note = shared.loop_detector.note"),
    pytest.param(
        "loop check",
        "from gateway.protocol.http.forwarding import check_loop as looped",
        id="loop check-by another name",
    ),
    ("loop check", "check_loop(headers, via)"),
    ("judgment of an origin's answer", "self._rules.apply(request, 200, headers, times, b'')"),
    ("shedding", "if shared.shedding.level >= LIVE: pass"),
    ("what answers a read of an origin", "decision.decide('GET', request, (), None, 0.0)"),
]


@pytest.mark.parametrize(("name", "copy"), COPIES)
def test_a_second_caller_of_a_rule_is_counted(name: str, copy: str) -> None:
    tree = ast.parse(f"class Another:\n    def answer(self):\n        {copy}\n")
    assert counted(RULES[name], {"web.another": list(_uses(tree, ()))}) == {"web.another": 1}
