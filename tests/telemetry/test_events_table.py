"""The table of log events on docs/operating.md has what the code logs, and nothing else."""

from __future__ import annotations

import ast
import re

from tests.support.processes import ROOT
from tests.support.syntax import nodes_near
from tests.test_architecture import sources
from tests.test_docs import document

LEVELS = frozenset({"debug", "info", "warning", "error", "exception"})
RARE_LINES = frozenset({"RareLine", "OutageLine"})  # made with the names of their events
LOGS = re.compile(r"\blog\.[a-z]|RareLine|OutageLine")
IN_TEXT = frozenset({"request"})  # which has a table of its own, by field
EVENT = re.compile(r"[a-z_]+\.[a-z_]+")


def logged_events() -> dict[bool, set[str]]:
    """Return the events of all calls that log, by whether they log a traceback."""
    found: dict[bool, set[str]] = {False: set(), True: set()}
    for path in sources("gateway", "admin"):
        if path.suffix == ".py":
            for node in nodes_near((ROOT / path).read_text(), LOGS):
                if isinstance(node, ast.Call):
                    has_traceback, events = events_of(node)
                    found[has_traceback] |= events
    return found


def events_of(call: ast.Call) -> tuple[bool, set[str]]:
    """Return whether a call logs a traceback, and the texts that it logs as events."""
    match call.func:
        case ast.Attribute(ast.Name("log"), level) if level in LEVELS:
            is_exception = level == "exception"
            arguments = call.args[:1]
        case ast.Name(name) if name in RARE_LINES:
            is_exception, arguments = False, call.args
        case _:
            return False, set()
    is_exception |= any(keyword.arg == "exc_info" for keyword in call.keywords)
    values = [it.value for it in arguments if isinstance(it, ast.Constant)]
    return is_exception, {it for it in values if isinstance(it, str)}


def documented_events() -> set[str]:
    page = document("operating.md")
    events = page.split("### Events\n", 1)[1].split("\n## ", 1)[0]
    first_cells = re.findall(r"^\| (`[^|]*) \|", events, re.MULTILINE)
    behind_the_table = events.rpartition("\n|")[2].partition("\n")[2]
    return {*EVENT.findall(" ".join((*first_cells, behind_the_table)))}


def test_the_section_of_events_has_each_event_that_the_code_logs_and_no_other() -> None:
    logged = logged_events()
    assert documented_events() == (logged[False] | logged[True]) - IN_TEXT


def test_the_events_that_are_always_faults_of_headgate_are_named_together() -> None:
    logged = logged_events()
    page = document("operating.md")
    (faults,) = re.findall(r"^These have no row, since (.*?)\n\n", page, re.MULTILINE | re.DOTALL)
    assert logged[True] - logged[False] >= {*EVENT.findall(faults)}
