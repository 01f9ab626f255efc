"""What `make lint` says of what pip-audit has found."""

from __future__ import annotations

import json

from tests.audit import judged

CLEAN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "Dependency not found"}
HOLED = {"name": "c", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}


def output(*found: object) -> str:
    return json.dumps({"dependencies": found, "fixes": []})


def test_a_known_vulnerability_fails_the_audit_and_is_named() -> None:
    assert judged(output(CLEAN, HOLED, SKIPPED)) == (True, "c 2: CVE-1, mended in 3")


def test_an_audit_without_findings_passes_and_counts_the_packages_not_looked_up() -> None:
    assert judged(output(CLEAN)) == (False, "pip-audit: 1 packages without a known vulnerability")
    fails, line = judged(output(CLEAN, SKIPPED))
    assert not fails
    assert line.endswith("vulnerability, 1 that it could not look up")


def test_an_unusable_audit_output_passes_and_is_reported_as_left_out() -> None:
    for said in ("", "Traceback", "{}", output(SKIPPED)):
        fails, line = judged(said)
        assert not fails
        assert line.startswith("pip-audit was left out: ")
