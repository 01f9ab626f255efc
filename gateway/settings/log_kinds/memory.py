"""Streams in memory: `memory:`, which end with the process."""

from __future__ import annotations

import re

from gateway.settings.log_kinds.declaration import LogKind

KIND = LogKind(
    name="memory",
    title="memory",
    form=re.compile("memory:"),
    words="memory:",
    make="gateway.backends.memory:log_of",
    why_alone="each process would have streams of its own",
    keeps_offsets=False,  # streams begin anew with the process
    lasts="Streams last as long as the process.",
)
