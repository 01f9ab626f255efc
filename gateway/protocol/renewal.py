"""Values that a reload of the settings changes in place, for all who refer to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import msgspec

S = TypeVar("S", bound="msgspec.Struct")


def renew(current: S, new: S) -> bool:
    """Give `current` the fields of `new`; return whether any of them differ."""
    if current == new:
        return False
    for field in current.__struct_fields__:
        setattr(current, field, getattr(new, field))
    return True
