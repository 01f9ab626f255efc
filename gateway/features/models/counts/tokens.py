"""The tokens of a route's answers, by model and by the account of the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate.dialects.progress import TokenUsage

# Pairs of a model and an account with counts of their own: each is two lines of the metrics.
MOST_PAIRS = 1000
# Characters of a model's name; callers choose it, and the names of providers have 60 at most.
LONGEST_MODEL = 128
OTHER = "other"


class Tokens(NamedTuple):
    """The tokens of one pair."""

    model: str
    account: str
    input: int
    output: int


class TokenCounts:
    """Counts for a bounded number of models and accounts; all others are counted as `other`."""

    def __init__(self) -> None:
        self.most_accounts = 0  # with counts of their own
        self._pairs: dict[tuple[str, str], tuple[int, int]] = {}
        self._accounts: set[str] = set()

    def __iter__(self) -> Iterator[Tokens]:
        for (model, account), (sent, received) in self._pairs.items():
            yield Tokens(model, account, sent, received)

    def add(self, model: str | None, account: str, usage: TokenUsage) -> None:
        """Count the tokens of an answer to `account`, which is empty if it is nobody's.

        An answer without any counts no model: the provider may not have one of this name.
        """
        if not (usage.input_tokens or usage.output_tokens):
            return
        pair = self._model(model), self._account(account)
        if pair not in self._pairs and len(self._pairs) >= MOST_PAIRS:
            pair = OTHER, OTHER if account and self.most_accounts else ""
        before = self._pairs.get(pair, (0, 0))
        added = usage.input_tokens or 0, usage.output_tokens or 0
        self._pairs[pair] = before[0] + added[0], before[1] + added[1]

    @staticmethod
    def _model(model: str | None) -> str:
        return OTHER if model is None or len(model) > LONGEST_MODEL else model

    def _account(self, account: str) -> str:
        if not account or not self.most_accounts:
            return ""
        if account in self._accounts or account == OTHER:
            return account
        if len(self._accounts) >= self.most_accounts:
            return OTHER
        self._accounts.add(account)
        return account
