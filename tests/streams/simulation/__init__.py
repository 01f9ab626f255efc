"""Whole gateways on a Redis in memory, with time and chance of their own.

From a seed follow the order of everything that happens, and what goes wrong: connections that are
slow, stuck or cut, answers that never come to what was carried out, a Redis that is killed (just
after a commit, too) and comes back with everything or without its last writes and with another
clock, clients who leave or take nothing, streams that are deleted, made anew, forked and trimmed.
The gateways are the real ones from the HTTP connection to the Redis connection; only sockets, Redis
and the clock are not. Each run checks, for readers who roam between the gateways:

- no offset ever has two contents before it, and none is told of two appends;
- nobody is refused but with 503, unless the stream is gone, or what they had read is lost;
- what is acknowledged is there once and in order, unless Redis has lost it;
- a catch-up read that says it is up to date has all that was in Redis when it was asked for;
- when all is quiet everybody comes to the tail without a further append, at whichever gateway;
- when all have left, no gateway keeps anything, and nothing was raised that nobody caught.

    python -m campaigns.redis_simulation --seeds 20000     many runs: the suite has only a few
    python -m campaigns.redis_simulation --first 79 --seeds 1 --story   one, and what happened in it
"""
