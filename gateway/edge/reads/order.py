"""Numbers that order requests and what became known: a read tells only of what was before it."""

from __future__ import annotations

from itertools import count

BEFORE_ALL = -1  # the number of what no request has brought just now, as of a copy

# Return a number that is higher than all that were returned before.
next_number = count().__next__
