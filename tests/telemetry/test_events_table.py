"""The table of log events on docs/operating.md has what the code logs, and nothing else."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from tests.support.processes import ROOT
from tests.test_architecture import sources
from tests.test_docs import document

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVELS = frozenset({"debug", "info", "warning", "error", "exception"})
RARE_LINES = frozenset({"RareLine", "OutageLine"})  # made with the names of their events
IN_TEXT = frozenset({"request"})  # which has a table of its own, by field
EVENT = re.compile(r"[a-z_]+\.[a-z_]+")


def logged_events(*, has_traceback: bool) -> Iterator[str]:
    """The event of each call that logs, with or without a traceback, in the syntax trees."""
    for path in sources("gateway", "admin"):
        if path.suffix == ".py":
            for node in ast.walk(ast.parse((ROOT / path).read_text())):
                if isinstance(node, ast.Call):
                    yield from events_of(node, has_traceback=has_traceback)


def events_of(call: ast.Call, *, has_traceback: bool) -> Iterator[str]:
    """The texts that a call logs as events, if it is such a call."""
    match call.func:
        case ast.Attribute(ast.Name("log"), level) if level in LEVELS:
            is_exception = level == "exception"
            arguments = call.args[:1]
        case ast.Name(name) if name in RARE_LINES:
            is_exception, arguments = False, call.args
        case _:
            return
    is_exception |= any(keyword.arg == "exc_info" for keyword in call.keywords)
    if is_exception == has_traceback:
        for argument in arguments:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value


def documented_events() -> set[str]:
    page = document("operating.md")
    events = page.split("### Events\n", 1)[1].split("\n## ", 1)[0]
    first_cells = re.findall(r"^\| (`[^|]*) \|", events, re.MULTILINE)
    behind_the_table = events.rpartition("\n|")[2].partition("\n")[2]
    return {*EVENT.findall(" ".join((*first_cells, behind_the_table)))}


def test_the_table_of_events_has_each_event_that_is_no_fault_of_headgate() -> None:
    assert {*logged_events(has_traceback=False)} - IN_TEXT - documented_events() == set()


def test_each_event_in_the_table_is_logged() -> None:
    logged = {*logged_events(has_traceback=False), *logged_events(has_traceback=True)}
    assert documented_events() - logged == set()
