"""Examination of what lies before a Durable Streams server, as its readers and writers see it.

`examination` makes streams of its own, runs the checks on them, and removes them. Checks are in
`offsets`, `fields`, `messages`, `deployed_file`, `caching`, `private_copies`, `private_reads`,
`polls`, `events`, `appends`, `settings_of_streams` and `writes`.
A check asks by an `asker`, which a `budget` bounds, or byte by byte on a `wire`, and gives
findings. `evidence` and `staleness` say which answers came from a cache, `hints` what to change
and `places` where, and `report` prints.
"""
