"""Examination of what lies before a Durable Streams server, as its readers and writers see it.

`examination` makes streams of its own, runs the `checks` on them, and removes them. A check sends
its requests by a `probe_sender`, within a budget, and returns findings. `evidence` says which
answers came from a cache, `advice` what to change, and `report` prints.
"""
