"""Grants in settings: operations on the stream at a path, or on all streams below it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.http.paths import canonical_path
from headgate_gateway.settings.reading.kinds import AS_TEXT, ValueKind
from headgate_gateway.settings.reading.tables import Table, setting
from headgate_gateway.settings.reading.values import Converter, Validator

if TYPE_CHECKING:
    from collections.abc import Collection

Operation = Literal["read", "append", "create", "close", "delete"]
OPERATIONS: frozenset[Operation] = frozenset(get_args(Operation))
BELOW = "/*"  # the end of a pattern that stands for every path below one

PATTERN_KIND = "a canonical path such as /v1/stream/chat, or one with /* at its end for all below"
TEMPLATE_KIND = f"{PATTERN_KIND}; a whole segment may be a {{claim}}"
OPERATIONS_KIND = f"a list of some of {', '.join(get_args(Operation))}"
GRANTS_KIND = "an array of tables, each with streams and operations"
CLAIM = re.compile(r"\{([A-Za-z0-9_.:-]{1,128})\}")


def check_pattern(pattern: str) -> str:
    """Return a canonical pattern of paths. Raises ValueError in words that continue "it"."""
    path = pattern.removesuffix(BELOW)
    if not path and pattern == BELOW:
        return pattern
    try:
        canonical = canonical_path(path)
    except BadRequest as refusal:
        raise ValueError(f"must be {PATTERN_KIND}: {refusal.detail}") from refusal
    if "*" in path:
        raise ValueError(f"must be {PATTERN_KIND}: it has a * before its end")
    if canonical != path or path == "/":
        raise ValueError(f"must be {PATTERN_KIND}: written {canonical}")
    return pattern


def check_template(template: str) -> str:
    """Return a pattern that may have `{claim}` as a whole segment. Raises ValueError."""
    for segment in template.split("/"):
        if {"{", "}"} & set(segment) and CLAIM.fullmatch(segment) is None:
            raise ValueError("must have each {claim} as one whole segment of its path")
    check_pattern(CLAIM.sub("claim", template))
    return template


def some_of(names: Collection[str], kind: str) -> Converter:
    """Return a check for a list of some `names`, which calls the list `kind` in its error."""

    def check(value: object) -> object:
        if not isinstance(value, list | tuple) or not value or not all(it in names for it in value):
            raise ValueError(f"must be {kind}")
        return value

    return Converter(check)


Operations = Annotated[
    tuple[Operation, ...],
    *AS_TEXT,
    some_of(get_args(Operation), OPERATIONS_KIND),
    ValueKind(OPERATIONS_KIND),
]


class GrantTemplate(Table):
    """Operations on streams whose path may name claims of a token."""

    streams: Annotated[str, Validator(check_template), ValueKind(TEMPLATE_KIND)] = setting(
        description="Path of the streams."
    )
    operations: Operations = setting(description="Operations on these streams that are permitted.")
