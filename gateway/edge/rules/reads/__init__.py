"""The rules by which an origin's response to a read is repaired, kept from caches, or refused.

A new rule is a module here with a `ReadRule`, an import, and its place in `RULES`.
"""

from __future__ import annotations

from gateway.edge.rules.reads.lifetimes import IGNORED_NO_STORE, OWN_LIFETIME, SHORT_TAIL
from gateway.edge.rules.reads.marks import CORS, OUR_CURSOR, TAG
from gateway.edge.rules.reads.places import PLACE

# In the order in which they are applied: each sees what those before it have left.
RULES = (
    PLACE,
    IGNORED_NO_STORE,
    OWN_LIFETIME,
    TAG,
    OUR_CURSOR,
    CORS,
    SHORT_TAIL,
)


def repairs() -> tuple[str, ...]:
    """Return the names under which the changes of rules are counted."""
    return tuple(sorted(rule.repair for rule in RULES if rule.repair))
