"""Streams in memory, `memory:`, which are lost when the process ends."""

from __future__ import annotations

import re

from gateway.settings.log_kinds.declaration import LogKind

KIND = LogKind(
    name="memory",
    title="memory",
    form=re.compile("memory:"),
    words="memory:",
    make="gateway.logs.memory:log_of",
    settings=frozenset({"max_storage_size"}),
    why_alone="each process would have streams of its own",
    keeps_offsets=False,  # streams start empty with each process
    lasts="Streams last as long as the process.",
)
