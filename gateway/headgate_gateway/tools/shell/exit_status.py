"""The exit statuses of commands, as docs/commands.md has them."""

from __future__ import annotations

DONE = 0
FAILED = 1  # for a reason of its own, or because a check found a fault
UNUSABLE = 2  # click's own status for a wrong command line; also for wrong settings
NOT_FOUND = 3
CONFLICT = 4
REFUSED = 5
UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h
UNTRUSTED = 78  # EX_CONFIG of sysexits.h: no later attempt succeeds without another configuration
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
