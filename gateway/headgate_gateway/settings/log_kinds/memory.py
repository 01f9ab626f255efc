"""Streams in memory, `memory:`, which are lost when the process ends."""

from __future__ import annotations

import re

from headgate_gateway.settings.log_kinds.declaration import LogKind

KIND = LogKind(
    name="memory",
    title="memory",
    form=re.compile("memory:"),
    words="memory:",
    make="headgate_gateway.logs.memory:log_of",
    settings=frozenset({"max_storage_size"}),
    why_alone="each process would have streams of its own",
    keeps_offsets=False,  # streams start empty with each process
    lasts="Streams last as long as the process.",
)
