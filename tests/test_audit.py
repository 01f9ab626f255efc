"""What `make test-all` says of what pip-audit has found."""

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


def test_only_a_known_vulnerability_fails_the_audit() -> None:
    for said in ("", "Traceback", "{}", output(SKIPPED), output(CLEAN), output(CLEAN, SKIPPED)):
        assert not judged(said)[0]
