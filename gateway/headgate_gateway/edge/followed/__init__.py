"""Streams of an HTTP origin that have live readers, each followed by one long-poll for all of them.

`followed_streams` begins and ends that, `followed_stream` is one of them, and `poll_loop` asks the
origin. `checks` finds out whether another stream is there than the one that readers have data of.
"""
