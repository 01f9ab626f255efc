"""Docstrings stand alone: each names its subject, so that it can be read without its neighbours."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
# Packages that were rewritten. The others follow, one after the other.
PLAIN = (
    "admin",
    "cdn_configs",
    "gateway/access",
    "gateway/backends",
    "gateway/commands",
    "gateway/edge",
    "gateway/hosted",
    "gateway/live",
    "gateway/monitoring",
    "gateway/origin",
    "gateway/protocol",
    "gateway/purge",
    "gateway/runtime",
    "gateway/settings",
    "gateway/streams",
    "gateway/telemetry",
    "gateway/web",
    "gateway/workers",
)
# With these a sentence begins whose subject is elsewhere.
LEANS_ON_ANOTHER = re.compile(
    r"(The same|Of|One|It|Who|Whom|Whose|What|How|When|Where|Whether|That|Those|Nobody|Somebody"
    r"|Everybody|They|He|She|Which|Why)\b"
)
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings(package: str) -> Iterator[tuple[str, str]]:
    """All docstrings of a package, by their places."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Documented) and (said := ast.get_docstring(node)) is not None:
                yield f"{path.relative_to(ROOT)}: {getattr(node, 'name', 'the module')}", said


@pytest.mark.parametrize("package", PLAIN)
def test_a_docstring_names_its_subject(package: str) -> None:
    found = list(docstrings(package))
    assert found
    assert [place for place, said in found if LEANS_ON_ANOTHER.match(said)] == []
