"""Recorded exchanges: what clients send, and all that can be seen of how it is answered.

`groups` says what is sent. `recorded` has what came back, what was counted, logged and traced, and
what the origin was asked, as far as it differs from `bases.txt` and from what `rule` says.
`python -m tests.web.corpus --record` writes it anew.
"""
