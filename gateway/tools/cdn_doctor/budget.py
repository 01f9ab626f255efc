"""The number of requests that an examination may send."""

from __future__ import annotations

from typing_extensions import override

from gateway.tools.shell.failure import Failed

# Enough for every check with twenty readers; few enough for a server that people are using.
MOST_REQUESTS = 300


class BudgetSpent(Failed):
    """The budget of requests is used up."""


class RequestBudget:
    """A budget of requests, each of which is counted before it is sent."""

    def __init__(self, most: int = MOST_REQUESTS) -> None:
        self.most = most
        self.spent = 0
        # Requests that are promised: the removal of each stream that was made.
        self.promised = 0

    @override
    def __repr__(self) -> str:
        return f"<RequestBudget {self.spent} of {self.most} spent, {self.promised} promised>"

    def spend(self, *, promise: bool = False) -> None:
        """Count a request; with `promise`, put another one aside. Raises BudgetSpent."""
        if self.spent + self.promised + 1 + promise > self.most:
            raise BudgetSpent(f"all {self.most} requests of this examination are spent")
        self.spent += 1
        self.promised += promise

    def redeem(self) -> None:
        """Count a request that was put aside. Raises BudgetSpent if there is none."""
        if not self.promised:
            raise BudgetSpent("no request was put aside for this")
        self.promised -= 1
        self.spent += 1
