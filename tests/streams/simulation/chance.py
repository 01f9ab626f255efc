"""What decides the order of everything: one source of chance for a whole run."""

from __future__ import annotations

from random import Random

SHARES = ((0.6, 0.001), (0.9, 0.02), (0.99, 0.3), (1.0, 2.0))  # of answers, and the longest wait


class Chance(Random):
    """Seeded: the same run again and again."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.haste = self.choice((0.1, 1.0, 1.0, 2.0))

    def one_in(self, many: int) -> bool:
        """Whether what happens so seldom happens now."""
        return self.randrange(many) == 0

    def latency_s(self) -> float:
        """How long something is on its way: mostly no time, sometimes very long."""
        luck = self.random()
        longest = next(longest for share, longest in SHARES if luck <= share)
        return self.uniform(0, longest) * self.haste
