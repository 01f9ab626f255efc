"""The state of subscriptions changes in one place: by the methods of its classes."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATE = ROOT / "gateway/subscriptions/state"
CLASSES = {"DeliveryState", "DurableSubscription", "LinkedStream", "StreamLink", "Wake"}
USERS = ("gateway/subscriptions", "gateway/edge", "gateway/mcp_events", "gateway/web")
ALLOWED = {
    # The links between subscriptions and streams are its own.
    *[("membership.py", it) for it in ("link.is_glob", "link.is_remembered")],
    *[("membership.py", it) for it in ("stream.links", "stream.state")],
    # Attributes of other classes that have the same names.
    ("stored_rows.py", "one.delivery"),
    ("route_events.py", "engine.deliveries.events"),
    ("route_events.py", "self.webhooks.engine.deliveries.events"),
    ("setup.py", "route.events"),
}


def attributes() -> Iterator[str]:
    """Yield the names of the attributes of the classes."""
    for path in STATE.glob("*.py"):
        for found in ast.parse(path.read_text()).body:
            if isinstance(found, ast.ClassDef) and found.name in CLASSES:
                for node in ast.walk(found):
                    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                        yield node.target.id
                    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                        yield node.attr


def writes(path: Path) -> Iterator[ast.Attribute]:
    """Yield the attributes of others that a module writes to."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            is_own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            if not is_own:
                yield node


def test_only_the_classes_of_the_state_write_to_its_attributes() -> None:
    names = set(attributes())
    assert {"generation", "lease_until", "phase", "position"} <= names
    others = [
        (path.name, ast.unparse(node))
        for folder in USERS
        for path in (ROOT / folder).rglob("*.py")
        if path.parent != STATE
        for node in writes(path)
        if node.attr in names
    ]
    assert set(others) == ALLOWED
