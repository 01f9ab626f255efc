"""docs/troubleshooting.md quotes only what Headgate says: events, metrics, codes and messages."""

from __future__ import annotations

import ast
import json
import re
from functools import cache

from gateway.errors import HeadgateError
from gateway.protocol import responses
from tests.support.processes import ROOT
from tests.test_architecture import sources
from tests.test_docs import document, quoted

PAGE = document("troubleshooting.md")
PROSE = re.sub(r"(?<!\n)\n *(?=\S)", " ", PAGE)  # quotes may go on in the next line
EVENT = re.compile(
    r"(access|admin|clock|feed|log|origin|purge|reads|server|stream|streams|tls|worker)\.[a-z_]+"
)
# Words of the system, of Redis, of systemd or of the settings of others, and commands.
NOT_OURS = (
    "$",
    "OOM command",
    "Too many open files",
    "curl",
    "headgate",
    "openssl",
    "proxy_",
    "ss ",
    "ulimit",
)
LEAST_SYMPTOMS = 25
RUN = 3  # words in a row that are compared


@cache
def literals() -> tuple[str, ...]:
    """The texts in the sources of the server; where a text has a value in it, its parts."""
    found: list[str] = []
    for path in sources("gateway", "admin"):
        if path.suffix == ".py":
            for node in ast.walk(ast.parse((ROOT / path).read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return tuple(found)


def runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[\w'/]+", text)
    return {tuple(words[at : at + RUN]) for at in range(len(words) - RUN + 1)}


def messages() -> list[str]:
    """The quotes that are sentences, without commands and words of others."""
    long = [it for it in quoted(PROSE) if len(it.split()) > RUN]
    return [it for it in long if not it.startswith(NOT_OURS) and "://" not in it]


def test_every_event_on_the_troubleshooting_page_is_one_that_is_logged() -> None:
    named = {word for word in quoted(PROSE) if EVENT.fullmatch(word)}
    assert len(named) > 20
    assert named - set(literals()) == set()


def test_every_metric_on_the_troubleshooting_page_is_declared() -> None:
    named = {it for it in quoted(PROSE) if re.fullmatch(r"(headgate|process)(_[a-z]+)+", it)}
    assert len(named) > 20
    listed = set(quoted(document("operating.md")))  # exactly the declared ones, but those of TLS
    assert named - listed - set(literals()) == set()


def test_every_error_code_on_the_troubleshooting_page_has_the_status_beside_it() -> None:
    kinds = HeadgateError.__subclasses__()
    statuses = {kind.code: responses.STATUS[kind] for kind in kinds if kind in responses.STATUS}
    named = re.findall(r"\b([45]\d\d) `([a-z_]+)`", PAGE)
    assert len(named) > 10
    assert [(status, code) for status, code in named if statuses[code] != int(status)] == []


def test_every_message_on_the_troubleshooting_page_has_the_words_of_the_sources() -> None:
    known = frozenset[tuple[str, ...]]().union(*(runs(text) for text in literals()))
    told = {message: runs(message) for message in messages()}
    assert len(told) > 20
    # Values stand between the words, and break runs.
    few = {it for it, found in told.items() if len(found & known) < max(1, len(found) // 3)}
    assert few == set()


def test_the_troubleshooting_page_has_a_cause_and_a_remedy_for_each_symptom() -> None:
    symptoms = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
    assert len(symptoms) >= LEAST_SYMPTOMS
    for symptom in symptoms:
        assert (symptom.count("\n**Cause**"), symptom.count("\n**Do**: ")) == (1, 1), symptom


def test_the_log_line_on_the_troubleshooting_page_has_the_documented_fields() -> None:
    (line,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    told = document("operating.md").split("### Requests\n", 1)[1].split("\n### ", 1)[0]
    assert set(json.loads(line)) - {"event"} <= set(quoted(told))
