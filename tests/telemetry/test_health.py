"""Health notes: their sentences, their severity, and those of several workers as one list."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import msgspec
import pytest

from headgate_gateway.telemetry.health import (
    ACCESS_FILE,
    CERTIFICATE_FILE,
    SENTENCES,
    Cause,
    HealthNote,
    by_name,
    merged,
)

ROOT = Path(__file__).parents[2]
AWAY, FULL = Cause("away", {"reason": "timed out"}), Cause("full", {"used": 9, "limit": 8})
FULL_WORDS = (
    "9 bytes are used of max_storage_size, 8: creations and appends that do not fit get 507 until"
    " streams are deleted or max_storage_size is raised"
)
NAMED = [
    (HealthNote("server"), "server", None),
    (HealthNote("worker", "2", Cause("starting")), "worker 2", "starting"),
    (HealthNote("log", "/r", AWAY), "log /r", "timed out"),
    (HealthNote("log", "/r", AWAY, (1, 3)), "log /r", "worker 1, 3: timed out"),
    (HealthNote("quota", "/r", FULL), "quota /r", FULL_WORDS),
    (HealthNote(ACCESS_FILE, "/t.toml", Cause.of("refused", "no")), "/t.toml", "no"),
    (HealthNote("certificate", "a.example", AWAY), "certificate for a.example", "timed out"),
    (HealthNote("of-a-feature", "/r", Cause("odd", {"reason": "it"})), "of-a-feature /r", "it"),
]


@pytest.mark.parametrize(("note", "name", "sentence"), NAMED, ids=range(len(NAMED)))
def test_a_note_has_the_name_of_its_part_and_a_sentence_made_of_its_facts(
    note: HealthNote, name: str, sentence: str | None
) -> None:
    assert (note.name, note.sentence) == (name, sentence)
    assert msgspec.json.decode(msgspec.json.encode(note), type=HealthNote) == note


@pytest.mark.parametrize(
    ("kind", "code", "is_felt"),
    [
        ("log", "read_only", True),
        ("certificate", "missing", True),
        ("renewal", "failed", False),
        (CERTIFICATE_FILE, "has_ended", True),
        (CERTIFICATE_FILE, "ends_now", True),
        (CERTIFICATE_FILE, "ends_soon", False),
        (CERTIFICATE_FILE, "not_used", False),
        ("clock", "set", False),
        ("of-a-feature", "log", False),
    ],
)
def test_what_readers_or_writers_feel_is_known_by_kind_and_code_and_by_no_words(
    kind: str, code: str, *, is_felt: bool
) -> None:
    words = "the certificate in use of the log /r of the origin expired"
    assert HealthNote(kind, "x", Cause(code, {"reason": words})).is_felt is is_felt
    assert not HealthNote(kind, "x").is_felt


def test_what_workers_find_is_one_note_for_each_cause_with_their_numbers() -> None:
    log, quota = HealthNote("log", "/r"), HealthNote("quota", "/r")
    away, other = HealthNote("log", "/r", AWAY), HealthNote("log", "/r", Cause("away"))
    found = merged([(1, [log, quota]), (2, [away, quota]), (3, [other]), (4, [away])])
    assert found == (
        HealthNote("log", "/r", AWAY, (2, 4)),
        HealthNote("log", "/r", Cause("away"), (3,)),
        quota,
    )
    notes = (*found[:1], HealthNote("log", "/r", FULL, (3,)), quota)
    assert by_name(notes) == {
        "log /r": f"worker 2, 4: timed out; worker 3: {FULL_WORDS}",
        "quota /r": None,
    }


def test_the_page_lists_the_code_of_each_cause_that_the_server_makes() -> None:
    section = (ROOT / "docs/operating.md").read_text().split("\n## Health\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| .*? \| .*? ?\| (`.*`) \|$", section, re.MULTILINE)
    listed = {code for row in rows for code in re.findall("`(.*?)`", row)}
    made = {
        node.args[0].value
        for folder in ("gateway/headgate_gateway", "admin/headgate_admin")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"Cause", "Cause.of"}
        and isinstance(node.args[0], ast.Constant)
    }
    assert (made - listed, set(SENTENCES) - listed) == (set(), set())
