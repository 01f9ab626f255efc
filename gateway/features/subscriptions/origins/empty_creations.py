"""The creations under way that leave their streams empty, so that nothing in them is pending."""

from __future__ import annotations

# About 150 bytes each. Those that get no answer stay, until later ones take their place: a stream
# that is created after that wakes once although it is empty.
MOST_CREATIONS = 10_000


class EmptyCreations:
    """The streams that are being created through this gateway, by name."""

    def __init__(self) -> None:
        self._are_empty: dict[str, bool] = {}

    def note(self, name: str, *, creates_empty: bool) -> None:
        """Note whether a write to a stream, if it creates that, leaves it empty."""
        if creates_empty:
            self._are_empty.setdefault(name, True)
            if len(self._are_empty) > MOST_CREATIONS:
                del self._are_empty[next(iter(self._are_empty))]
        elif name in self._are_empty:
            self._are_empty[name] = False  # nobody can say which of both is answered first

    def pop(self, name: str) -> bool:
        """Return whether a stream is empty, if the write that is answered has created it."""
        return self._are_empty.pop(name, False)
