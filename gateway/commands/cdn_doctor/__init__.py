"""What lies before a Durable Streams server, examined as its readers and writers see it.

`examination` makes streams of its own, runs the checks (`caching`, `polls`, `events`, `writes`) on
them, and removes them. A check asks by an `asker`, which a `budget` bounds, and gives findings.
`evidence` and `staleness` say which answers came from a cache, `hints` what to change, and `report`
prints.
"""
