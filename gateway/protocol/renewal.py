"""Values that a reload of the settings changes in place, for all who refer to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import msgspec

S = TypeVar("S", bound="msgspec.Struct")


def renew(current: S, wanted: S) -> bool:
    """Give `current` the fields of `wanted`; return whether any of them differ."""
    if current == wanted:
        return False
    for field in current.__struct_fields__:
        setattr(current, field, getattr(wanted, field))
    return True
