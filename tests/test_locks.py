"""Whatever is installed is locked by its hash, and no lock says where from."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

LOCKS = sorted(set((ROOT / "requirements").glob("*.txt")) - {ROOT / "requirements/wheels.txt"})
NODE_LOCKS = [
    ROOT / folder / "package-lock.json"
    for folder in ("client/js", "tests/codex", "tests/conformance/suite", "tests/node")
]
ENTRY = re.compile(
    r"\S+==[^\s;]+(?: ; [^\n\\]+)? \\\n"
    r"(?: {4}--hash=sha256:[0-9a-f]{64} \\\n)* {4}--hash=sha256:[0-9a-f]{64}\n"
)
COMMENT = re.compile(r" *#[^\n]*\n")


def complaints(lock: str) -> list[str]:
    """Return the lines that are no part of a requirement with hashes, and name more than it."""
    found = [line for line in COMMENT.sub("", ENTRY.sub("", lock)).splitlines() if line]
    return [*found, *(line for line in lock.splitlines() if "://" in line)]


def node_complaints(lock: str) -> list[str]:
    """Return the packages without a hash, and those that are said to be at some place.

    Folders of this tree, and links to them, have none.
    """
    return [
        name
        for name, one in json.loads(lock)["packages"].items()
        if name.startswith("node_modules/") and not one.get("link")
        if not re.match(r"sha512-\S{88}", one.get("integrity", "")) or "resolved" in one
    ]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_each_package_of_a_lock_has_a_version_and_hashes(lock: Path) -> None:
    assert complaints(lock.read_text()) == []


@pytest.mark.parametrize("lock", NODE_LOCKS, ids=lambda lock: lock.parent.name)
def test_each_package_for_node_has_a_hash_and_no_place(lock: Path) -> None:
    assert node_complaints(lock.read_text()) == []


def test_no_other_lock_is_there() -> None:
    files = {*ROOT.glob("**/package-lock.json"), *ROOT.glob("**/uv.lock")}
    installed = {path for path in files if {"node_modules", ".venv", "build"} & {*path.parts}}
    assert files - installed == {*NODE_LOCKS}


GOOD = f"""\
# make lock
x==1 ; python_version < '3' \\
    --hash=sha256:{"a" * 64} \\
    --hash=sha256:{"b" * 64}
    # via y
"""


WRONG = {
    "no-one-version": ("==", ">=", "x>=1"),
    "half-a-hash": ("b" * 64, "b" * 63, "x==1"),
    "a-weak-hash": ("sha256", "md5", "x==1"),
    "an-index": ("# make lock", "--index-url https://example.org", "--index-url"),
    "an-index-in-a-comment": ("# make lock", "# by https://example.org", "# by https:"),
    "a-place": ("x==1", "x @ git+https://example.org/x", "x @ git"),
    "no-hash": ("# make lock", "y==2", "y==2"),
}


@pytest.mark.parametrize(("old", "new", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_lock_is_told(old: str, new: str, told: str) -> None:
    assert complaints(GOOD) == []
    assert any(line.startswith(told) for line in complaints(GOOD.replace(old, new)))


WRONG_FOR_NODE = {
    "no-hash": {},
    "a-weak-hash": {"integrity": "sha1-x"},
    "a-place": {"integrity": f"sha512-{'a' * 88}", "resolved": "https://example.org/x.tgz"},
}


@pytest.mark.parametrize("package", WRONG_FOR_NODE.values(), ids=WRONG_FOR_NODE)
def test_what_is_wrong_with_a_lock_for_node_is_told(package: dict[str, str]) -> None:
    lock = {"packages": {"": {}, "node_modules/x": package}}
    assert node_complaints(json.dumps(lock)) == ["node_modules/x"]
